//! The accept loop behind every HTTP face of this crate: an axum `Router` over hyper, with the limits `axum::serve` lacks.
//!
//! - A peer that does not send its header in time is cut off (an idle kept-alive connection likewise).
//! - At most [`Limits::connections`] connections; further ones wait unaccepted in the listener's queue.
//! - A failing `accept` (no file descriptors left) is answered with a pause, not with the end of the loop.
//! - [`Server::stop`] ends it within a stated time; dropping the [`Server`] ends it at once.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Notify, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

/// The pause after a failed `accept`. Connections that end meanwhile give their descriptors back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one server allows its peers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long a peer may take for one request header, and how long a connection may idle.
    pub(crate) header_timeout: Duration,
    /// Connections at once.
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_timeout: Duration::from_secs(5), connections: 64 }
    }
}

/// The connection a request came by, found among the request's extensions.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<Notify>);

#[cfg(feature = "testing")]
impl Line {
    /// Resets the connection: the peer gets no answer, or no more of it. The handler is dropped where it waits.
    pub(crate) fn cut(&self) {
        self.0.notify_one();
    }
}

/// A running server. Dropping it cuts every connection.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<Duration>,
    accepting: Abort,
}

#[derive(Debug)]
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Binds, and serves `router` on the current tokio runtime. Fails outside one, and when the address is taken.
    pub(crate) fn start(bind: SocketAddr, router: Router, limits: Limits) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind(bind)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let accepting = Abort(runtime.spawn(accept_all(listener, router, limits, stopped)));
        Ok(Self { address, stop, accepting })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets the requests in hand finish within `grace`, then cuts what is left.
    pub(crate) async fn stop(self, grace: Duration) {
        let Self { stop, mut accepting, .. } = self;
        let _ = stop.send(grace);
        let _ = (&mut accepting.0).await;
    }
}

async fn accept_all(listener: TcpListener, router: Router, limits: Limits, mut stop: oneshot::Receiver<Duration>) {
    let (closing, _) = watch::channel(());
    let mut connections = JoinSet::new();
    let grace = loop {
        tokio::select! {
            grace = &mut stop => break grace.unwrap_or_default(),
            Some(_) = connections.join_next() => {}
            stream = accept(&listener), if connections.len() < limits.connections => {
                connections.spawn(converse(stream, router.clone(), limits, closing.subscribe()));
            }
        }
    };
    drop(listener);
    closing.send_replace(());
    // What has not ended by then is cut when the set is dropped.
    let _ = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(target: "mainstay::net", %error, "cannot accept a connection, trying again shortly");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The peer went away before it was accepted: nothing is wrong here.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn converse(stream: TcpStream, router: Router, limits: Limits, mut closing: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let line = Line::default();
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn({
        let line = line.clone();
        move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(line.clone());
            router.call(request)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut open = true;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(target: "mainstay::net", %error, "a connection ended early");
                }
                return;
            }
            () = line.0.notified() => {
                // No lingering: the peer sees a reset, not an orderly end.
                let _ = connection.into_parts().io.into_inner().set_zero_linger();
                return;
            }
            _ = closing.changed(), if open => {
                open = false;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use axum::routing::get;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    fn serve(limits: Limits, router: Router) -> Server {
        Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), router, limits).unwrap()
    }

    fn hello() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    fn connect(to: SocketAddr) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Reads until the text has come; false if the connection ends before.
    fn hears(stream: &mut std::net::TcpStream, text: &str) -> bool {
        let (mut heard, mut part) = (String::new(), [0; 512]);
        while !heard.contains(text) {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => return false,
                Ok(some) => heard.push_str(&String::from_utf8_lossy(&part[..some])),
            }
        }
        true
    }

    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    #[tokio::test]
    async fn half_a_header_and_an_idle_connection_are_cut_off() {
        let limits = Limits { header_timeout: Duration::from_millis(50), ..Limits::default() };
        let server = serve(limits, hello());
        let address = server.address();
        blocking(move || {
            let mut half = connect(address);
            half.write_all(b"GET / HT").unwrap();
            assert!(!hears(&mut half, "hello"));
            let mut idle = connect(address);
            idle.write_all(REQUEST).unwrap();
            assert!(hears(&mut idle, "hello"));
            assert!(!hears(&mut idle, "hello"));
        })
        .await;
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_for_its_place() {
        let server = serve(Limits { connections: 1, ..Limits::default() }, hello());
        let address = server.address();
        blocking(move || {
            let mut first = connect(address);
            first.write_all(REQUEST).unwrap();
            assert!(hears(&mut first, "hello"));
            let mut second = connect(address);
            second.write_all(REQUEST).unwrap();
            second.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert!(!hears(&mut second, "hello"));
            drop(first);
            second.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            assert!(hears(&mut second, "hello"));
        })
        .await;
    }

    #[tokio::test]
    async fn a_request_in_hand_is_finished_when_the_server_stops() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let router = Router::new().route(
            "/",
            get({
                let (begun, go) = (begun.clone(), go.clone());
                async move || {
                    begun.notify_one();
                    go.notified().await;
                    "late"
                }
            }),
        );
        let server = serve(Limits::default(), router);
        let address = server.address();
        let peer = tokio::task::spawn_blocking(move || {
            let mut stream = connect(address);
            stream.write_all(REQUEST).unwrap();
            hears(&mut stream, "late")
        });
        begun.notified().await;
        let stopping = tokio::spawn(server.stop(Duration::from_secs(10)));
        tokio::task::yield_now().await;
        go.notify_one();
        assert!(peer.await.unwrap());
        stopping.await.unwrap();
        blocking(move || assert!(std::net::TcpStream::connect(address).is_err())).await;
    }

    #[tokio::test]
    async fn a_request_that_never_ends_is_cut_after_the_grace() {
        let begun = Arc::new(Notify::new());
        let router = Router::new().route(
            "/",
            get({
                let begun = begun.clone();
                async move || {
                    begun.notify_one();
                    std::future::pending::<&'static str>().await
                }
            }),
        );
        let server = serve(Limits::default(), router);
        let address = server.address();
        let peer = tokio::task::spawn_blocking(move || {
            let mut stream = connect(address);
            stream.write_all(REQUEST).unwrap();
            hears(&mut stream, "never")
        });
        begun.notified().await;
        server.stop(Duration::from_millis(20)).await;
        assert!(!peer.await.unwrap());
    }

    #[test]
    fn only_a_peers_own_fault_is_passed_over_without_a_pause() {
        assert!(is_the_peers(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!is_the_peers(&io::Error::from_raw_os_error(24)), "no file descriptors left");
    }
}
