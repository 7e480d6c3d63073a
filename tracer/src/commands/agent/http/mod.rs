//! The endpoints: HTTP on loopback addresses and on a Unix socket, with bounds on everything that a client can take.

mod answer;
mod cache;
mod guard;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn};
use tokio::time::{sleep, timeout};

use self::answer::Answerer;
use self::guard::{Endpoint, Guard};
use super::shared::Shared;

/// Connections at the same time: by addresses, and by the socket.
const CONNECTIONS: usize = 64;
const SOCKET_CONNECTIONS: usize = 16;
/// Time for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Time of a connection in all: more than the longest profile takes. A client that reads slowly is cut off by it.
const WHOLE: Duration = Duration::from_secs(180);
/// Bytes of a head at most.
const HEAD_BYTES: usize = 16 << 10;
/// Headers at most.
const HEADERS: usize = 64;
/// Waiting after an `accept` that failed: there are no descriptors left, say.
const PAUSE: Duration = Duration::from_millis(100);
/// Time that an agent which was killed has for its end.
const UNTIL_FREE: Duration = Duration::from_secs(3);
/// Who may use the socket: root and its group.
const SOCKET_MODE: u32 = 0o660;

/// The endpoints that are open. They are closed when it is dropped.
pub struct Server {
    tasks: Vec<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Server {
    /// Opens the endpoints. Must be called within a runtime.
    ///
    /// # Errors
    /// Which of them cannot be opened, in one line.
    pub async fn begin(shared: &Arc<Shared>) -> Result<Self> {
        let config = shared.config();
        let guard = Arc::new(Guard::new(config.serve.token_file.as_deref())?);
        let answerer = Arc::new(Answerer::new(Arc::clone(shared)));
        let mut server = Self {
            tasks: Vec::new(),
            socket: None,
        };
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        for address in config.serve.addresses() {
            let listener = when_free(async || TcpListener::bind(address).await).await;
            let listener = listener
                .with_context(|| format!("cannot serve at {address}: give another --listen"))?;
            let (answerer, guard) = (Arc::clone(&answerer), Arc::clone(&guard));
            let task = serve_tcp(listener, address, answerer, guard, Arc::clone(&room));
            server.tasks.push(spawn(task));
        }
        if let Some(path) = config.serve.socket() {
            match when_free(async || listen_unix(path)).await {
                Ok(listener) => {
                    server.socket = Some(path.clone());
                    let room = Arc::new(Semaphore::new(SOCKET_CONNECTIONS));
                    server
                        .tasks
                        .push(spawn(serve_unix(listener, answerer, guard, room)));
                }
                Err(error) => {
                    let path = path.display();
                    tracing::warn!("cannot serve at {path}: {error}");
                }
            }
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens a listener. An agent that was killed a moment ago keeps its own until its probes are removed: it is waited for.
async fn when_free<T>(mut open: impl AsyncFnMut() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match open().await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < UNTIL_FREE =>
            {
                sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Listens at a path; what an agent has left there that is gone is removed.
fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let is_socket = fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket());
    if is_socket {
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another agent serves there",
                ));
            }
            Err(_) => fs::remove_file(path)?,
        }
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

async fn serve_tcp(
    listener: TcpListener,
    address: SocketAddr,
    answerer: Arc<Answerer>,
    guard: Arc<Guard>,
    room: Arc<Semaphore>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            refuse(&stream);
            answerer.refused();
            continue;
        };
        let own = stream.local_addr().unwrap_or(address);
        let (answerer, guard) = (Arc::clone(&answerer), Arc::clone(&guard));
        spawn(async move {
            connection(stream, Endpoint::Address(own), answerer, guard).await;
            drop(permit);
        });
    }
}

/// Says that there are too many connections, if that can be said at once.
fn refuse(stream: &TcpStream) {
    let text = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let _ = stream.try_write(text);
}

async fn serve_unix(
    listener: UnixListener,
    answerer: Arc<Answerer>,
    guard: Arc<Guard>,
    room: Arc<Semaphore>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            answerer.refused();
            continue;
        };
        let (answerer, guard) = (Arc::clone(&answerer), Arc::clone(&guard));
        spawn(async move {
            connection(stream, Endpoint::Socket, answerer, guard).await;
            drop(permit);
        });
    }
}

/// One connection, to its end.
async fn connection<S>(stream: S, endpoint: Endpoint, answerer: Arc<Answerer>, guard: Arc<Guard>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (answerer, guard) = (Arc::clone(&answerer), Arc::clone(&guard));
        async move { answerer.answer(&request, endpoint, &guard).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(WHOLE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a connection ended: {error}"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}
