//! The wire, by reqwest: its own retries and redirects off, addresses stripped from its errors.

use std::pin::Pin;

use reqwest::{Method as HttpMethod, redirect, retry};
use secrecy::ExposeSecret;

use super::{ClientConfig, Transport, WireAnswer, WireError, WireFault, WireRequest};
use crate::profile::Method;

/// HTTP over reqwest and rustls. Connections are pooled per vendor.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    http: reqwest::Client,
    answer_max_bytes: usize,
}

impl HttpTransport {
    /// A client with the configured limits. Fails when the TLS library cannot start.
    pub fn new(config: &ClientConfig) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self { http, answer_max_bytes: config.answer_max_bytes })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: WireRequest) -> Pin<Box<dyn Future<Output = Result<WireAnswer, WireError>> + Send>> {
        let (http, limit) = (self.http.clone(), self.answer_max_bytes);
        Box::pin(async move {
            let mut builder =
                http.request(method(request.method), request.url.expose_secret()).timeout(request.timeout);
            if !request.body.is_empty() {
                builder = builder.body(request.body);
            }
            for (name, value) in &request.headers {
                builder = builder.header(name, value.expose_secret());
            }
            let answer = builder.send().await.map_err(before_answer)?;
            read_whole(answer, limit).await
        })
    }
}

async fn read_whole(mut answer: reqwest::Response, limit: usize) -> Result<WireAnswer, WireError> {
    let status = answer.status().as_u16();
    let headers = answer
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(after_headers)? {
        if body.len() + chunk.len() > limit {
            let detail = format!("HTTP {status}, and an answer over the limit of {limit} bytes");
            return Err(WireError { fault: WireFault::TooLarge, detail });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(WireAnswer { status, headers, body })
}

fn before_answer(error: reqwest::Error) -> WireError {
    let fault = match (error.is_connect(), error.is_timeout(), error.is_builder()) {
        (_, _, true) => WireFault::Invalid,
        (true, true, _) => WireFault::ConnectTimeout,
        (true, false, _) => WireFault::Connect,
        (false, true, _) => WireFault::Timeout,
        (false, false, _) => WireFault::Broken,
    };
    WireError { fault, detail: words(fault, error) }
}

fn after_headers(error: reqwest::Error) -> WireError {
    let fault = if error.is_timeout() { WireFault::Timeout } else { WireFault::Broken };
    WireError { fault, detail: words(fault, error) }
}

/// The error's own words with its causes, never its address.
fn words(fault: WireFault, error: reqwest::Error) -> String {
    let error = error.without_url();
    let what = match fault {
        WireFault::Connect => "no connection, nothing was sent",
        WireFault::ConnectTimeout => "no connection in time, nothing was sent",
        WireFault::Timeout => "no whole answer in time, the request was sent",
        WireFault::Broken => "the connection broke after the request was sent",
        WireFault::Invalid => "the request could not be built, nothing was sent",
        WireFault::TooLarge => "the answer is too large",
    };
    let mut text = format!("{what}: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn method(method: Method) -> HttpMethod {
    match method {
        Method::Get => HttpMethod::GET,
        Method::Post => HttpMethod::POST,
        Method::Put => HttpMethod::PUT,
        Method::Patch => HttpMethod::PATCH,
        Method::Delete => HttpMethod::DELETE,
    }
}
