//! The JSON endpoint over real HTTP.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use mainstay::{Call, Handle, Runtime};
use serde_json::Value;

use crate::{
    live::{Blocker, PATIENCE, TWO, alone, soon},
    support::{Wire, clay, lead, ok, phone, retell},
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Heard {
    status: u16,
    headers: String,
    body: String,
}

/// One request, as bytes: a client of its own would put its own headers in.
async fn ask(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Heard {
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let text = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let text = text.await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Heard { status, headers: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn snapshot(at: SocketAddr) -> Value {
    let heard = ask(at, "GET", "/debug/snapshot", &[("host", &at.to_string())]).await;
    assert_eq!(heard.status, 200, "{}", heard.body);
    serde_json::from_str(&heard.body).unwrap()
}

async fn start(wire: &Wire) -> (Handle, SocketAddr) {
    let builder = Runtime::builder().vendor(clay(wire)).vendor(retell(wire)).placement(TWO).debug_http(LOOPBACK);
    let mainstay = builder.start().await.unwrap().handle();
    let at = mainstay.debug_http().unwrap();
    (mainstay, at)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_has_its_shape_and_is_not_kept_by_anybody() {
    let wire = Wire::usually(ok(200));
    let (mainstay, at) = start(&wire).await;
    mainstay.call(Call::new("clay", "push-row", lead(1))).await.unwrap();
    let seen = snapshot(at).await;
    let expected = [
        "at",
        "calls",
        "events",
        "health",
        "open_effects",
        "overdue_total",
        "parked",
        "shutting_down",
        "store",
        "tree",
        "vendors",
        "version",
    ];
    assert_eq!(keys(&seen), BTreeSet::from(expected));
    assert_eq!(keys(&seen["vendors"]), BTreeSet::from(["clay", "retell"]));
    let expected = ["breakers", "budget", "calls", "client", "down", "fallback", "gate", "keys", "lanes", "retries"];
    assert_eq!(keys(&seen["vendors"]["clay"]), BTreeSet::from(expected));
    let expected = [
        "accepted",
        "cached",
        "cancelled",
        "dead_lettered",
        "delivered",
        "local",
        "lost",
        "offered",
        "queued",
        "refused",
        "under_way",
        "unknown",
    ];
    assert_eq!(keys(&seen["calls"]), BTreeSet::from(expected));
    assert_eq!(keys(&seen["tree"]), BTreeSet::from(["fatal", "supervisors", "totals"]));
    assert_eq!((&seen["calls"]["delivered"], &seen["version"]), (&1.into(), &env!("CARGO_PKG_VERSION").into()));
    let supervisors: Vec<_> = seen["tree"]["supervisors"].as_array().unwrap().iter().map(|s| &s["id"]).collect();
    assert_eq!(supervisors, ["runtime", "clay", "retell"]);

    let heard = ask(at, "GET", "/debug/snapshot", &[("host", &at.to_string())]).await;
    for header in ["content-type: application/json", "cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(heard.headers.contains(header), "{}", heard.headers);
    }
    assert!(!heard.headers.contains("access-control") && !heard.headers.contains("set-cookie"), "{}", heard.headers);
    mainstay.shutdown(Duration::from_secs(10)).await;
    // Bound at once: with the runtime its endpoint is gone, and its address is free for the next one.
    drop(std::net::TcpListener::bind(at).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_address_itself_may_be_named_as_host() {
    let (mainstay, at) = start(&Wire::usually(ok(200))).await;
    let port = at.port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")] {
        let heard = ask(at, "GET", "/debug/snapshot", &[("host", &host)]).await;
        assert_eq!(heard.status, 200, "{host}");
    }
    let other = port ^ 1;
    for host in [
        format!("evil.test:{port}"),
        format!("127.0.0.1.evil.test:{port}"),
        format!("localhost.evil.test:{port}"),
        format!("0.0.0.0:{port}"),
        format!("127.0.0.1:{other}"),
        "127.0.0.1".into(),
        String::new(),
    ] {
        let heard = ask(at, "GET", "/debug/snapshot", &[("host", &host)]).await;
        assert_eq!(heard.status, 421, "{host}");
        assert!(!heard.body.contains("budget"));
    }
    assert_eq!(ask(at, "GET", "/debug/snapshot", &[]).await.status, 421, "no host at all");
    mainstay.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_other_paths_and_other_methods_get_nothing() {
    let (mainstay, at) = start(&Wire::usually(ok(200))).await;
    let host = at.to_string();
    let own = format!("http://{host}");
    for header in [
        ("origin", "https://evil.test"),
        ("origin", "null"),
        ("origin", &own),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let heard = ask(at, "GET", "/debug/snapshot", &[("host", &host), header]).await;
        assert_eq!(heard.status, 403, "{header:?}");
        assert!(!heard.headers.contains("access-control"));
    }
    for site in ["none", "same-origin"] {
        let heard = ask(at, "GET", "/debug/snapshot", &[("host", &host), ("sec-fetch-site", site)]).await;
        assert_eq!(heard.status, 200, "{site}");
    }
    for path in ["/", "/debug", "/debug/snapshot/", "/debug/snapshot/clay", "/debug/../debug/snapshot", "/metrics"] {
        let heard = ask(at, "GET", path, &[("host", &host)]).await;
        assert_eq!(heard.status, 404, "{path}");
        assert!(heard.body.contains("GET /debug/snapshot"), "it says where to look: {}", heard.body);
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let heard = ask(at, method, "/debug/snapshot", &[("host", &host), ("content-length", "0")]).await;
        assert_eq!(heard.status, 405, "{method}");
        assert!(heard.headers.contains("allow: get"), "{}", heard.headers);
    }
    mainstay.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_with_fresh_figures_while_a_worker_is_blocked() {
    let wire = Wire::usually(ok(201));
    let blocker = Blocker::of("clay/breaker", "ticket");
    let builder = Runtime::builder().vendor(clay(&wire)).vendor(retell(&wire)).placement(TWO).debug_http(LOOPBACK);
    // The watchdog is far away: it is not what helps here.
    let builder = builder.with(|runtime| runtime.watchdog.hang_after = Duration::from_secs(300));
    let mainstay = builder.hazard(blocker.clone()).start().await.unwrap().handle();
    let at = mainstay.debug_http().unwrap();
    let held = mainstay.submit(Call::new("clay", "push-row", lead(1))).await.unwrap();
    blocker.until_blocked().await;
    let first = soon(snapshot(at)).await;
    let call = Call::new("retell", "create-phone-call", phone()).key("reminder-1");
    soon(mainstay.call(call)).await.unwrap();
    let second = soon(snapshot(at)).await;
    assert!(blocker.is_blocked());
    assert_ne!(first["at"], second["at"]);
    assert_eq!((&first["calls"]["delivered"], &second["calls"]["delivered"]), (&0.into(), &1.into()));
    assert_eq!(
        (&second["calls"]["under_way"], &second["vendors"]["clay"]["calls"]["under_way"]),
        (&1.into(), &1.into())
    );
    blocker.let_go();
    soon(held.outcome()).await.unwrap();
    mainstay.shutdown(Duration::from_secs(10)).await;
}

/// Sockets of this process that listen.
fn listening() -> usize {
    let mine: BTreeSet<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| {
            Some(
                fs::read_link(fd.ok()?.path())
                    .ok()?
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    let tables =
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let listen = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|inode| mine.contains(*inode))
    };
    tables.iter().flat_map(|table| table.lines()).filter(listen).count()
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_listens_until_it_is_asked_for() {
    if !alone("endpoint::nothing_listens_until_it_is_asked_for") {
        return;
    }
    let host = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    host.block_on(async {
        let wire = Wire::usually(ok(200));
        let mainstay = Runtime::builder().vendor(clay(&wire)).placement(TWO).start().await.unwrap().handle();
        assert_eq!((mainstay.debug_http(), listening()), (None, 0));
        let (other, _) = start(&wire).await;
        assert_eq!(listening(), 1);
        other.shutdown(Duration::from_secs(10)).await;
        mainstay.shutdown(Duration::from_secs(10)).await;
    });
}
