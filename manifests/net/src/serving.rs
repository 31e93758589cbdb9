//! A small HTTP server that ends: bounds on connections and time, a thread of its own, stopped by a signal, by its owner or with it. Not what
//! it serves.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Connections at the same time; more wait at the door.
const CONNECTIONS: usize = 128;
/// How long a whole request may take to come, and a client to take what it asked for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long what is being answered may take once the server was told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Threads that wait for the disk.
const WORKERS: usize = 8;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("{addr}: {source}: give another address with --listen")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system gives no thread or no signal.
    #[error("the server cannot run: {0}")]
    System(#[from] io::Error),
}

/// A server that runs. It stops when this is dropped.
#[derive(Debug)]
pub struct Serving {
    addr: SocketAddr,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// Who may end a server besides its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Nobody.
    WithOwner,
    /// SIGINT and SIGTERM: their handlers stay for the rest of the process' life.
    OnSignal,
}

impl Serving {
    /// Listens, and answers from now on.
    ///
    /// # Errors
    /// When the address cannot be had, or the system gives no thread.
    pub(crate) fn start(listen: SocketAddr, app: Router, ends: Ends) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            addr: listen,
            source,
        };
        let listener = StdListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WORKERS)
            .build()?;
        let stop = Arc::new(Notify::new());
        let (listener, signals) = {
            let _inside = runtime.enter();
            let signals = match ends {
                Ends::WithOwner => Vec::new(),
                Ends::OnSignal => vec![
                    signal(SignalKind::interrupt())?,
                    signal(SignalKind::terminate())?,
                ],
            };
            (TcpListener::from_std(listener)?, signals)
        };
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || run(runtime, listener, app, signals, &told))?;
        Ok(Self {
            addr,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until it ends by itself: after a signal.
    pub fn wait(mut self) {
        self.join();
    }

    /// Ends it, and waits until it has.
    pub fn stop(self) {
        drop(self);
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic has said on standard error what it was.
            let _ = thread.join();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.notify_one();
        self.join();
    }
}

fn run(
    runtime: Runtime,
    listener: TcpListener,
    app: Router,
    signals: Vec<Signal>,
    stop: &Arc<Notify>,
) {
    runtime.block_on(async {
        for mut signal in signals {
            let stop = Arc::clone(stop);
            tokio::spawn(async move {
                signal.recv().await;
                stop.notify_one();
            });
        }
        let ending = Arc::new(Notify::new());
        let told = Arc::clone(&ending);
        let doors = Doors {
            listener,
            free: Arc::new(Semaphore::new(CONNECTIONS)),
        };
        let serving =
            axum::serve(doors, app).with_graceful_shutdown(async move { told.notified().await });
        let serving = tokio::spawn(async move { serving.await });
        stop.notified().await;
        ending.notify_one();
        // What is not over by then is cut off with the runtime.
        let _ = timeout(GRACE, serving).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// Lets in so many at a time.
struct Doors {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl Listener for Doors {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            // Nobody closes it: without a permit there would be no bound, and the next round asks again.
            let permit = Arc::clone(&self.free).acquire_owned().await;
            if let Ok(permit) = permit
                && let Ok((stream, addr)) = self.listener.accept().await
            {
                let guest = Guest {
                    stream,
                    patience: Box::pin(sleep(PATIENCE)),
                    _permit: permit,
                };
                return (guest, addr);
            }
            // Out of descriptors, or who knocked has gone: others may come.
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that lasts only so long without an answer on it: neither a request that comes byte by byte nor a client that never
/// takes its answer keeps its place.
struct Guest {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Guest {
    fn expired<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn answered<T>(
        &mut self,
        done: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if done.is_pending() {
            return self.expired(cx);
        }
        self.patience.as_mut().reset(Instant::now() + PATIENCE);
        done
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guest = &mut *self;
        let expired = guest.expired(cx);
        if expired.is_ready() {
            return expired;
        }
        Pin::new(&mut guest.stream).poll_read(cx, to)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.answered(done, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.answered(done, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// HTTP's number.
    pub(crate) status: StatusCode,
    /// Content-Type.
    pub(crate) kind: &'static str,
    /// Cache-Control.
    pub(crate) cache: &'static str,
    /// All of it.
    pub(crate) body: Vec<u8>,
}

/// Content-Type of texts.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// Cache-Control of what changes.
pub(crate) const FRESH: &str = "no-cache";

impl Told {
    /// A text that is not to be kept.
    pub(crate) fn text(status: StatusCode, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            kind: TEXT,
            cache: FRESH,
            body: body.into(),
        }
    }

    /// As axum sends it. To HEAD the server gives no body by itself.
    pub(crate) fn response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache));
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        response
    }
}

/// Does what waits for the disk on a thread that may.
pub(crate) async fn aside(work: impl FnOnce() -> Told + Send + 'static) -> Response {
    let broken = |_| Told::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(broken)
        .response()
}
