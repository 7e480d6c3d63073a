//! Sends profiles to an OTLP receiver, one POST each: HTTP without TLS, to a collector nearby.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::shared::Shared;
use crate::render::otlp;
use crate::words::error;

/// The path of the protocol's version.
const PATH: &str = "/v1development/profiles";
/// The port of OTLP over HTTP.
const PORT: u16 = 4318;
/// Time for one export.
const WHOLE: Duration = Duration::from_secs(20);
/// After a failure the time until the next try doubles, up to so many intervals.
const LONGEST: u32 = 20;
/// Bytes of an answer that are read.
const MOST_BYTES: usize = 64 << 10;

/// The sender. It ends when it is dropped.
pub struct Otlp(JoinHandle<()>);

impl Otlp {
    /// Begins to send. Must be called within a runtime.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn begin(shared: &Arc<Shared>, url: &str) -> Result<Self> {
        let uri: Uri = url.parse().context("no address")?;
        let shared = Arc::clone(shared);
        Ok(Self(spawn(async move { send_all(&shared, &uri).await })))
    }
}

impl Drop for Otlp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send_all(shared: &Shared, uri: &Uri) {
    let interval = shared.config().watch.interval;
    let (mut sent, mut pause) = (0, 1);
    loop {
        sleep(interval * pause).await;
        let heaps = shared.known().heaps.clone();
        let Some(heaps) = heaps.filter(|heaps| heaps.number != sent) else {
            continue;
        };
        let done = send(uri, &heaps.profile).await;
        let mut known = shared.known();
        match done {
            Ok(()) => {
                known.own.exports.0 += 1;
                (sent, pause) = (heaps.number, 1);
            }
            Err(failure) => {
                known.own.exports.1 += 1;
                drop(known);
                // The first failure in a row is said.
                if pause == 1 {
                    tracing::warn!("no profile is sent: {}", error::one_line(&failure));
                }
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

async fn send(uri: &Uri, profile: &Arc<crate::profile::Profile>) -> Result<()> {
    let profile = Arc::clone(profile);
    let body = spawn_blocking(move || otlp::request(&profile)).await?;
    let sent = timeout(WHOLE, post(uri, body)).await;
    sent.with_context(|| format!("{uri} does not answer"))?
}

async fn post(uri: &Uri, body: Vec<u8>) -> Result<()> {
    let host = uri.host().context("no host")?.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(PORT);
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.with_context(|| format!("cannot connect to {host}, port {port}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = spawn(connection);
    let path = match uri.path() {
        "" | "/" => PATH.to_owned(),
        given => format!(
            "{}{PATH}",
            given.trim_end_matches('/').trim_end_matches(PATH)
        ),
    };
    let request = Request::post(path)
        .header(HOST, format!("{host}:{port}"))
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await;
    let answer = answer.context("the receiver has closed the connection");
    let status = match answer {
        Ok(answer) => {
            let status = answer.status();
            // What it says is of no use, but the connection is to end well.
            let _ = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
            Ok(status)
        }
        Err(error) => Err(error),
    };
    connection.abort();
    match status? {
        status if status.is_success() => Ok(()),
        status => bail!("{host}, port {port}, answers {status}"),
    }
}
