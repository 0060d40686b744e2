//! Timeouts over real HTTP: what is given up is cut off, and nobody else is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use std::time::Duration;

use mainstay::{
    Answer, Because, Call, CallError, Credits, Effect, Handle, Operation, Phase, Profile, Runtime, VendorConfig,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(30);

/// A vendor at this address, with an operation that may take a short time and one that may take long.
async fn start(address: std::net::SocketAddr) -> Handle {
    let post = |path: &str, timeout| Operation { timeout, ..Operation::post(path) };
    let operations = [("short", post("/short", SHORT)), ("long", post("/long", LONG))];
    let profile = Profile::http("vendor", &format!("http://{address}"), operations);
    let vendor = VendorConfig::new(profile).daily_limit(Credits::whole(100));
    Runtime::builder().vendor(vendor).start().await.unwrap().handle()
}

/// The next request, read to the end of its head, and its connection.
async fn accept(listener: &TcpListener) -> (String, TcpStream) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        seen.push(socket.read_u8().await.unwrap());
    }
    (String::from_utf8(seen).unwrap(), socket)
}

/// Reads until the other side closes the connection.
async fn until_closed(mut socket: TcpStream) {
    let mut rest = [0; 1024];
    while matches!(socket.read(&mut rest).await, Ok(read) if read > 0) {}
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("in time")
}

fn call(operation: &str) -> Call {
    Call::new("vendor", operation, json!({ "operation": operation }))
}

#[tokio::test]
async fn a_request_that_is_given_up_is_cut_off_and_nothing_of_it_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mainstay = start(listener.local_addr().unwrap()).await;
    let vendor = async {
        let (_, socket) = accept(&listener).await;
        until_closed(socket).await;
    };
    let (answer, ()) = in_time(async { tokio::join!(mainstay.call(call("short")), vendor) }).await;
    let Err(CallError::Unknown { because: Because::Failed { phase, effect, detail, .. }, .. }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((phase, effect), (Some(Phase::Request), Effect::Unknown), "sent, and no answer");
    assert!(detail.starts_with("vendor short timeout: "), "{detail}");
    assert!(!detail.contains("127.0.0.1"), "an address may be a secret: {detail}");
    let snapshot = mainstay.snapshot();
    assert_eq!(snapshot.vendors["vendor"].client.under_way, 0);
    assert!(mainstay.shutdown(LONG).await.drained);
    let next = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(next.is_err(), "no second request");
}

/// opossum's shared abort controller aborts the neighbours too.
#[tokio::test]
async fn peers_b5_the_timeout_of_one_call_aborts_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mainstay = start(listener.local_addr().unwrap()).await;
    let vendor = async {
        let (mut hung, mut answered) = (None, None);
        while hung.is_none() || answered.is_none() {
            let (head, socket) = accept(&listener).await;
            let place = if head.starts_with("POST /short") { &mut hung } else { &mut answered };
            *place = Some(socket);
        }
        // The other one's answer comes only after this one was cut off.
        until_closed(hung.unwrap()).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"done\": true}";
        answered.unwrap().write_all(answer).await.unwrap();
    };
    let calls = async { tokio::join!(mainstay.call(call("short")), mainstay.call(call("long")), vendor) };
    let (short, long, ()) = in_time(calls).await;
    assert!(matches!(short, Err(CallError::Unknown { .. })), "{short:?}");
    let Ok(Answer::Delivered(delivered)) = long else { panic!("{long:?}") };
    assert_eq!(delivered.body, json!({ "done": true }));
}
