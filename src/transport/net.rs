//! How connections are made: sockets, or whatever a simulation puts in their place.
//!
//! The only place in this floor that knows TCP. Everything above works on two byte streams and an address.

use futures::future::BoxFuture;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// The half of a connection that bytes come from.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The half of a connection that bytes go to.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection, in halves that two tasks may use at the same time.
pub struct Connection {
    pub read: ReadHalf,
    pub write: WriteHalf,
    pub peer: SocketAddr,
}

/// Makes connections and listeners.
pub trait Net: Send + Sync + 'static {
    /// Connects to `address` (`host:port`). A process that does not listen gives `ConnectionRefused`.
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>>;

    /// Listens on `address` (`host:port`, port 0 for any free one).
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// Takes connections. Dropping it stops listening.
pub trait Listener: Send + 'static {
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>>;

    /// The address that is really listened on.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The machine's TCP, without Nagle's delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

fn connection(stream: TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    let (read, write) = stream.into_split();
    Ok(Connection { read: Box::new(read), write: Box::new(write), peer })
}

impl Net for TcpNet {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move { connection(TcpStream::connect(address).await?) })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(TcpListener::bind(address).await?) as Box<dyn Listener>) })
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move { connection(TcpListener::accept(self).await?.0) })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}
