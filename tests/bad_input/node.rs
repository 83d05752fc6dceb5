//! One real node as a process of its own, with its data in a temporary directory.

use crate::client::ask;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Node {
    pub child: Child,
    pub http: SocketAddr,
    _data: tempfile::TempDir,
}

/// An address that nobody listened on a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    listener.local_addr().expect("a bound socket has an address")
}

impl Node {
    /// Starts a node that makes no topics by itself, and waits until it is ready.
    pub fn start() -> Node {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let (http, kafka, peer) = (free_address(), free_address(), free_address());
        let child = Command::new(env!("CARGO_BIN_EXE_balsa"))
            .args(["serve", "--node-id", "1", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(data.path())
            .args(["--http", &http.to_string(), "--kafka", &kafka.to_string(), "--peer", &peer.to_string()])
            .args(["--peers", &format!("1={peer}")])
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let node = Node { child, http, _data: data };
        let begun = Instant::now();
        while !node.is_ready() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the node is not ready after 20 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }

    fn is_ready(&self) -> bool {
        std::net::TcpStream::connect(self.http).is_ok() && ask(self.http, "GET", "/readyz", &[], b"").status == 200
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
