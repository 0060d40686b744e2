//! The JSON face: `GET /debug/snapshot` on loopback, off until asked for.
//!
//! Loopback is reachable from every web page its operator has open, so: only requests that name this very address as their
//! host, none that a page of another origin sends, reading only. No cookies, no CORS headers, nothing cached.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;

use super::Look;
use crate::net::{Limits, Server};

/// How long a request in hand may take at the end.
const GRACE: Duration = Duration::from_secs(1);

/// The open face. Dropping it cuts its connections.
pub(crate) struct DebugHttp {
    address: SocketAddr,
    server: Mutex<Option<Server>>,
}

impl DebugHttp {
    pub(crate) fn open(at: SocketAddr, look: Look) -> io::Result<Self> {
        // Known only when it is bound. Nobody is admitted before.
        let port = Arc::new(OnceLock::new());
        let router = Router::new()
            .route("/debug/snapshot", get(snapshot))
            .fallback(nothing_here)
            .layer(from_fn_with_state(port.clone(), admit))
            .with_state(look);
        let server = Server::start(at, router, Limits::default())
            .map_err(|e| io::Error::new(e.kind(), format!("the debug endpoint cannot listen on {at}: {e}")))?;
        let address = server.address();
        let _ = port.set(address.port());
        tracing::info!(target: "mainstay::debug", %address, "the debug endpoint listens");
        Ok(Self { address, server: Mutex::new(Some(server)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes it, with whoever is being answered answered. Its address is free when this returns.
    pub(crate) async fn stop(&self) {
        let server = self.server.lock().take();
        if let Some(server) = server {
            server.stop(GRACE).await;
        }
    }

    /// Cuts it off, without a wait.
    pub(crate) fn close(&self) {
        drop(self.server.lock().take());
    }
}

async fn snapshot(State(look): State<Look>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], Json(look.snapshot()))
}

async fn nothing_here() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "nothing here; see GET /debug/snapshot\n")
}

/// Refuses what a web page of another origin could send, DNS-rebound ones included.
async fn admit(State(port): State<Arc<OnceLock<u16>>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host_is_ours = text("host").zip(port.get()).is_some_and(|(host, port)| is_loopback(host, *port));
    if !host_is_ours {
        let words = "the Host header must name this loopback address and port\n";
        return (StatusCode::MISDIRECTED_REQUEST, words).into_response();
    }
    let from_a_page = headers.contains_key(header::ORIGIN)
        || text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    if from_a_page {
        return (StatusCode::FORBIDDEN, "not for web pages of another origin\n").into_response();
    }
    next.run(request).await
}

fn is_loopback(host: &str, port: u16) -> bool {
    let Some((name, its_port)) = host.rsplit_once(':') else { return false };
    let Ok(its_port) = its_port.parse::<u16>() else { return false };
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "127.0.0.1" | "localhost" | "[::1]") && its_port == port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_names_with_the_right_port_are_ours() {
        for good in ["127.0.0.1:7070", "localhost:7070", "LOCALHOST:7070", "[::1]:7070"] {
            assert!(is_loopback(good, 7070), "{good}");
        }
        for bad in ["127.0.0.1", "localhost:7071", "localhost.evil.test:7070", "evil.test:7070", "0.0.0.0:7070", ""] {
            assert!(!is_loopback(bad, 7070), "{bad}");
        }
    }
}
