//! The server loop: accepts connections, tells HTTP/1.1 from HTTP/2, serves each until it ends or expires, and stops
//! in an orderly way.
//!
//! Invariants: at most `connections_max` connections; each has deadlines (see `connection`); every task belongs to
//! [`Tasks`]; a handler that panics costs its client a 500, not the connection's other requests.
//!
//! Not here: TLS.

use super::connection::{self, ClientStream, Expired, OpenRequest, Watch};
use super::problem::{self, Problem};
use super::{HttpConfig, Streamed};
use crate::tasks::{OnPanic, Tasks};
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::{Method, Request, Response, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tower::Service as _;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};
use tower_http::compression::{CompressionLayer, CompressionLevel};

/// Serves `router` on `listener` until the node stops; back once no connection is accepted any more (those that are
/// open go on to their end, bounded by `shutdown_grace`, as tasks of `tasks`).
pub async fn serve(listener: TcpListener, router: Router, tasks: Tasks, config: HttpConfig) {
    let server = Arc::new(Server {
        compressed: router.clone().layer(compression()),
        plain: router,
        connections: AtomicUsize::new(0),
        tasks: tasks.clone(),
        config,
    });
    let stopping = tasks.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => server.accepted(stream),
            Err(error) => {
                // Out of file descriptors, mostly: without a pause this loop would take a whole core.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Compresses where the client asks, but not what flows for ever or must not be held back.
fn compression() -> CompressionLayer<impl Predicate> {
    let streamed = |_: http::StatusCode, _: http::Version, _: &http::HeaderMap, extensions: &http::Extensions| {
        extensions.get::<Streamed>().is_none()
    };
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(DefaultPredicate::new().and(streamed))
}

struct Server {
    plain: Router,
    compressed: Router,
    connections: AtomicUsize,
    tasks: Tasks,
    config: HttpConfig,
}

/// Counts a connection while it is held.
struct Counted(Arc<Server>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    fn accepted(self: &Arc<Self>, stream: TcpStream) {
        // So many more may wait to be told that there is no room; beyond that they are closed without a word.
        const REFUSED_MAX: usize = 64;
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.clone());
        if before >= self.config.connections_max + REFUSED_MAX {
            return;
        }
        // Latency matters more than a few small packets; a socket that is gone already shows at the first read.
        let _ = stream.set_nodelay(true);
        let server = self.clone();
        let full = before >= self.config.connections_max;
        self.tasks.spawn("HTTP connection", OnPanic::Log, async move {
            if full {
                connection::close(stream, Some(connection::raw_answer(&server.no_room()))).await;
            } else {
                server.connection(stream).await;
            }
            drop(counted);
        });
    }

    fn no_room(&self) -> Problem {
        Problem::new(
            &problem::TOO_MANY_CONNECTIONS,
            format!(
                "this node serves {} connections, and no more; keep connections alive, use another node, or retry",
                self.config.connections_max
            ),
        )
        .retry_after_ms(1000)
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        let accepted = Instant::now();
        let protocol = tokio::time::timeout(self.config.header_timeout, protocol(&mut stream)).await;
        let (http2, prefix) = match protocol {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => return connection::close(stream, Some(self.head_too_slow())).await,
        };
        let watch = Arc::new(Watch::new(accepted, !http2));
        let (io, returned) = ClientStream::new(stream, prefix, watch.clone());
        let (io, front) = (TokioIo::new(io), Front { server: self.clone(), watch: watch.clone() });
        let expired = if http2 {
            let connection = self.http2().serve_connection(io, front);
            self.run(connection, &watch, |connection| connection.graceful_shutdown()).await
        } else {
            let connection = self.http1().serve_connection(io, front);
            self.run(connection, &watch, |connection| connection.graceful_shutdown()).await
        };
        let Some(stream) = returned.lock().take() else { return };
        match expired {
            Some(Expired::Head) => connection::close(stream, Some(self.head_too_slow())).await,
            Some(Expired::Idle | Expired::Blocked) => {}
            None => connection::close(stream, None).await,
        }
    }

    fn head_too_slow(&self) -> Bytes {
        connection::raw_answer(&Problem::new(
            &problem::REQUEST_TIMEOUT,
            format!(
                "the request's line and headers did not arrive within {} s; send them at once",
                self.config.header_timeout.as_secs()
            ),
        ))
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            // A client may end its half once it has asked, and still wants the answer.
            .half_close(true)
            .max_header_size(self.config.header_bytes_max)
            .max_buf_size(READ_BUFFER_BYTES_MAX.max(self.config.header_bytes_max));
        builder
    }

    fn http2(&self) -> http2::Builder<TaskExecutor> {
        let mut builder = http2::Builder::new(TaskExecutor(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(256)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_send_buf_size(256 << 10)
            .max_header_list_size(u32::try_from(self.config.header_bytes_max).unwrap_or(u32::MAX));
        builder
    }

    /// Drives a connection to its end; `Some` if it had to be given up.
    async fn run<C>(&self, connection: C, watch: &Watch, shut_down: impl Fn(Pin<&mut C>)) -> Option<Expired>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        let stopping = self.tasks.stopping();
        let serving = async {
            let first_due = Instant::now() + self.config.header_timeout;
            let mut timer = pin!(tokio::time::sleep_until(first_due));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    if let Err(error) = result {
                        tracing::debug!(%error, "an HTTP connection ended");
                    }
                    return Poll::Ready(None);
                }
                self.poll_expired(watch, timer.as_mut(), cx).map(Some)
            })
            .await
        };
        tokio::select! {
            ended = serving => return ended,
            () = stopping.cancelled() => {}
        }
        shut_down(connection.as_mut());
        // Whatever is not done by then is cut off: the node has to go.
        let _ = tokio::time::timeout(self.config.shutdown_grace, connection).await;
        None
    }

    /// Ready once the connection is to be given up. The timer is only set anew when it fires or something is due
    /// earlier, so that requests don't touch it.
    fn poll_expired(
        &self,
        watch: &Watch,
        mut timer: Pin<&mut tokio::time::Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Expired> {
        loop {
            let due = watch.due(self.config.header_timeout, self.config.idle_timeout);
            if let Some((at, _)) = due
                && at < timer.deadline()
            {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match due {
                Some((at, expired)) if at <= Instant::now() => return Poll::Ready(expired),
                Some((at, _)) => timer.as_mut().reset(at),
                None => timer.as_mut().reset(Instant::now() + self.config.idle_timeout),
            }
        }
    }
}

/// Bytes of one connection that are read ahead.
const READ_BUFFER_BYTES_MAX: usize = 256 << 10;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether the client speaks HTTP/2; gives that and what was read. `None` if it left.
async fn protocol(stream: &mut TcpStream) -> std::io::Result<Option<(bool, Bytes)>> {
    let mut prefix = BytesMut::with_capacity(8 << 10);
    loop {
        if stream.read_buf(&mut prefix).await? == 0 {
            return Ok(None);
        }
        let len = prefix.len().min(HTTP2_PREFACE.len());
        if prefix[..len] != HTTP2_PREFACE[..len] {
            return Ok(Some((false, prefix.freeze())));
        }
        if len == HTTP2_PREFACE.len() {
            return Ok(Some((true, prefix.freeze())));
        }
    }
}

/// Spawns HTTP/2's streams as tasks of the node.
#[derive(Clone)]
struct TaskExecutor(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for TaskExecutor {
    fn execute(&self, stream: F) {
        self.0.spawn("HTTP/2 stream", OnPanic::Log, stream);
    }
}

/// Answers the requests of one connection.
struct Front {
    server: Arc<Server>,
    watch: Arc<Watch>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<WatchedBody>, std::convert::Infallible>> + Send>>;

impl Service<Request<Incoming>> for Front {
    type Response = Response<WatchedBody>;
    type Error = std::convert::Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let open = self.watch.begin();
        let asks = request.headers().contains_key(header::ACCEPT_ENCODING) && request.method() != Method::HEAD;
        let mut router = if asks { self.server.compressed.clone() } else { self.server.plain.clone() };
        let expects = request.headers().contains_key(header::EXPECT);
        let tasks = self.server.tasks.clone();
        let answering =
            router.call(request.map(|incoming| Body::new(RequestBody { incoming: Some(incoming), expects, tasks })));
        Box::pin(async move {
            let response = match AssertUnwindSafe(answering).catch_unwind().await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => {
                    tracing::error!("an HTTP handler panicked");
                    Problem::new(&problem::INTERNAL, "the node made a mistake; its log has more").into_response()
                }
            };
            Ok(response.map(|body| WatchedBody { body, _open: open }))
        })
    }
}

/// A request's body, which is drained when its handler lets go of it early.
///
/// A client that writes its whole body before it reads would otherwise see a broken connection instead of the refusal.
struct RequestBody {
    /// Present until dropped.
    incoming: Option<Incoming>,
    /// A client that waits for a go-ahead sends nothing once it sees the refusal.
    expects: bool,
    tasks: Tasks,
}

impl RequestBody {
    fn incoming(&mut self) -> Pin<&mut Incoming> {
        Pin::new(self.incoming.as_mut().expect("the body is taken only on drop"))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.incoming().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::default(), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        const DRAIN_BYTES_MAX: usize = 64 << 20;
        const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
        let Some(mut incoming) = self.incoming.take() else { return };
        if self.expects || incoming.is_end_stream() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        self.tasks.spawn("drain a refused body", OnPanic::Log, async move {
            let drained = async {
                let mut size = 0;
                while let Some(Ok(frame)) = incoming.frame().await {
                    size += frame.data_ref().map_or(0, Bytes::len);
                    if size > DRAIN_BYTES_MAX {
                        break;
                    }
                }
            };
            // Whether it ended or not: all that is left to do is to let the body go.
            let _ = tokio::time::timeout(DRAIN_TIME_MAX, drained).await;
        });
    }
}

/// An answer's body, which keeps its connection from being idle.
struct WatchedBody {
    body: Body,
    _open: OpenRequest,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
