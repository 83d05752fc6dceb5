//! The network between the hosts: connections over [`super::pipe`], links that are slow, cut one way, or reset.
//!
//! Links are between hosts, each direction by itself. A link that is cut holds what is sent, as TCP does by sending
//! again, until it is healed or the connection is reset. A host that was switched off says nothing; one whose process
//! ended resets its connections and refuses new ones.

use super::clock::Now;
use super::pipe::{End, Pipe, Step};
use balsa::random::Random;
use balsa::transport::net::{Connection, Listener, Net};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The port on which hosts listen for each other.
pub const PORT: u16 = 9192;

/// How long bytes take, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    pub min: u64,
    pub max: u64,
}

struct Accepting {
    connections: VecDeque<Connection>,
    waker: Option<Waker>,
}

struct State {
    now: Now,
    random: Random,
    delay: Delay,
    slow: BTreeMap<(u64, u64), Delay>,
    cut: BTreeSet<(u64, u64)>,
    /// Hosts that are switched off.
    dark: BTreeSet<u64>,
    listening: BTreeMap<u64, Accepting>,
    pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    next_port: u16,
    delivered: Delivered,
}

/// All that ever arrived, in order: how much, and a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    pub bytes: u64,
    pub checksum: u32,
}

/// The whole network. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

fn address(host: u64, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8], port))
}

/// The address by which others reach a host.
pub fn listen_address(host: u64) -> SocketAddr {
    address(host, PORT)
}

fn host_of(address: &str) -> io::Result<u64> {
    let parsed: SocketAddr = address.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
    match parsed {
        SocketAddr::V4(v4) => Ok(u64::from(v4.ip().octets()[3])),
        SocketAddr::V6(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl State {
    fn draw_delay(&self, from: u64, to: u64) -> u64 {
        let delay = self.slow.get(&(from, to)).copied().unwrap_or(self.delay);
        delay.min + self.random.below(delay.max - delay.min + 1)
    }

    fn is_open(&self, from: u64, to: u64) -> bool {
        !self.cut.contains(&(from, to)) && !self.dark.contains(&from) && !self.dark.contains(&to)
    }

    fn new_pipe(&mut self, from: u64, to: u64) -> u64 {
        let number = self.next_pipe;
        self.next_pipe += 1;
        self.pipes.insert(number, Pipe::new(from, to));
        number
    }
}

impl Network {
    pub fn new(now: Now, seed: u64, delay: Delay) -> Network {
        Network(Arc::new(Mutex::new(State {
            now,
            random: Random::from_seed(seed),
            delay,
            slow: BTreeMap::new(),
            cut: BTreeSet::new(),
            dark: BTreeSet::new(),
            listening: BTreeMap::new(),
            pipes: BTreeMap::new(),
            next_pipe: 1,
            next_port: 10_000,
            delivered: Delivered::default(),
        })))
    }

    /// The network as one host sees it.
    pub fn of(&self, host: u64) -> HostNet {
        HostNet { host, network: self.clone() }
    }

    /// Lets arrive what is due.
    pub fn deliver(&self) -> Delivered {
        let mut state = self.0.lock();
        let state = &mut *state;
        let now = state.now.micros();
        let (cut, dark) = (&state.cut, &state.dark);
        for pipe in state.pipes.values_mut().filter(|pipe| pipe.is_busy()) {
            let is_open =
                !cut.contains(&(pipe.from, pipe.to)) && !dark.contains(&pipe.from) && !dark.contains(&pipe.to);
            if is_open {
                pipe.deliver(now, &mut state.delivered);
            }
        }
        state.pipes.retain(|_, pipe| !pipe.is_over());
        state.delivered
    }

    /// Cuts or heals one direction.
    pub fn set_cut(&self, from: u64, to: u64, cut: bool) {
        let mut state = self.0.lock();
        if cut {
            state.cut.insert((from, to))
        } else {
            state.cut.remove(&(from, to))
        };
    }

    pub fn set_slow(&self, from: u64, to: u64, delay: Option<Delay>) {
        let mut state = self.0.lock();
        match delay {
            Some(delay) => state.slow.insert((from, to), delay),
            None => state.slow.remove(&(from, to)),
        };
    }

    /// Ends all that links have.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.cut.clear();
        state.slow.clear();
    }

    /// Resets the connections between two hosts.
    pub fn reset(&self, one: u64, other: u64) {
        self.reset_where(|pipe| (pipe.from, pipe.to) == (one, other) || (pipe.from, pipe.to) == (other, one));
    }

    fn reset_where(&self, which: impl Fn(&Pipe) -> bool) {
        let mut state = self.0.lock();
        let now = state.now.micros();
        let numbers: Vec<u64> = state.pipes.iter().filter(|(_, pipe)| which(pipe)).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(pipe) = state.pipes.get(&number) else { continue };
            let delay = state.draw_delay(pipe.from, pipe.to);
            if let Some(pipe) = state.pipes.get_mut(&number) {
                pipe.end(now + delay, End::Reset);
            }
        }
    }

    /// The process of a host ended: its connections are reset, new ones refused.
    pub fn process_ended(&self, host: u64) {
        self.stop_listening(host);
        self.reset_where(|pipe| pipe.from == host || pipe.to == host);
    }

    // What was not accepted yet is dropped behind the lock, which its drop takes too.
    fn stop_listening(&self, host: u64) {
        let was = {
            let mut state = self.0.lock();
            state.listening.remove(&host)
        };
        drop(was);
    }

    /// The host lost its power: nobody hears anything of it.
    pub fn switch_off(&self, host: u64) {
        self.stop_listening(host);
        self.0.lock().dark.insert(host);
    }

    /// The host is on again: it knows no connection from before.
    pub fn switch_on(&self, host: u64) {
        if self.0.lock().dark.remove(&host) {
            self.reset_where(|pipe| pipe.from == host || pipe.to == host);
        }
    }
}

/// See [`Network::of`].
pub struct HostNet {
    host: u64,
    network: Network,
}

impl Net for HostNet {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            let to = host_of(address)?;
            self.cross(self.host, to).await;
            let made = self.network.shake_hands(self.host, to);
            self.cross(to, self.host).await;
            made
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let host = host_of(address)?;
            let mut state = self.network.0.lock();
            if state.listening.contains_key(&host) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            state.listening.insert(host, Accepting { connections: VecDeque::new(), waker: None });
            Ok(Box::new(HostListener { host, network: self.network.clone() }) as Box<dyn Listener>)
        })
    }
}

impl HostNet {
    /// Takes as long as a packet does; does not end while the link is cut.
    async fn cross(&self, from: u64, to: u64) {
        let delay = self.network.0.lock().draw_delay(from, to);
        tokio::time::sleep(Duration::from_micros(delay)).await;
        while !self.network.0.lock().is_open(from, to) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Network {
    fn shake_hands(&self, from: u64, to: u64) -> io::Result<Connection> {
        let mut state = self.0.lock();
        let port = state.next_port;
        state.next_port = if port == u16::MAX { 10_000 } else { port + 1 };
        if !state.listening.contains_key(&to) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (there, back) = (state.new_pipe(from, to), state.new_pipe(to, from));
        let connection = |read, write, peer| Connection {
            read: Box::new(ReadEnd { pipe: read, network: self.clone() }),
            write: Box::new(WriteEnd { pipe: write, network: self.clone() }),
            peer,
        };
        let accepted = connection(there, back, address(from, port));
        let dialled = connection(back, there, address(to, PORT));
        let accepting = state.listening.get_mut(&to).expect("just looked at");
        accepting.connections.push_back(accepted);
        accepting.waker.take().into_iter().for_each(Waker::wake);
        Ok(dialled)
    }
}

struct HostListener {
    host: u64,
    network: Network,
}

impl Listener for HostListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(std::future::poll_fn(|context| {
            let mut state = self.network.0.lock();
            let Some(accepting) = state.listening.get_mut(&self.host) else { return Poll::Pending };
            match accepting.connections.pop_front() {
                Some(connection) => Poll::Ready(Ok(connection)),
                None => {
                    accepting.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(listen_address(self.host))
    }
}

impl Drop for HostListener {
    fn drop(&mut self) {
        self.network.stop_listening(self.host);
    }
}

struct ReadEnd {
    pipe: u64,
    network: Network,
}

struct WriteEnd {
    pipe: u64,
    network: Network,
}

impl AsyncRead for ReadEnd {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.0.lock();
        let Some(pipe) = state.pipes.get_mut(&self.pipe) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let room = into.initialize_unfilled();
        match pipe.read(room, context.waker()) {
            Step::Done(count) => {
                into.advance(count);
                Poll::Ready(Ok(()))
            }
            Step::Wait => Poll::Pending,
            Step::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        if let Some(pipe) = self.network.0.lock().pipes.get_mut(&self.pipe) {
            pipe.drop_reader();
        }
    }
}

impl AsyncWrite for WriteEnd {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.network.0.lock();
        let state = &mut *state;
        let Some(pipe) = state.pipes.get(&self.pipe) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let at = state.now.micros() + state.draw_delay(pipe.from, pipe.to);
        let Some(pipe) = state.pipes.get_mut(&self.pipe) else { return Poll::Pending };
        match pipe.write(bytes, at, context.waker()) {
            Step::Done(count) => Poll::Ready(Ok(count)),
            Step::Wait => Poll::Pending,
            Step::Reset => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl WriteEnd {
    fn end(&self) {
        let mut state = self.network.0.lock();
        let Some(pipe) = state.pipes.get(&self.pipe) else { return };
        let at = state.now.micros() + state.draw_delay(pipe.from, pipe.to);
        if let Some(pipe) = state.pipes.get_mut(&self.pipe) {
            pipe.end(at, End::Closed);
        }
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.end();
        if let Some(pipe) = self.network.0.lock().pipes.get_mut(&self.pipe) {
            pipe.writer_gone = true;
        }
    }
}
