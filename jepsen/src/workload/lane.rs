//! A client: one process after the other. A process whose operation had no clear outcome ends there, and the client
//! goes on under a new number with new connections: what it would see next must not be held against what it saw.

use crate::history::Process;
use crate::workload::http::Http;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;

pub struct Lane {
    number: u64,
    /// How many lanes there are: the new number is the old one and this.
    step: u64,
    pub http: Http,
    pub random: StdRng,
    /// Tries so far that had no clear outcome, whatever came of their operations.
    pub unclear: u64,
    nodes: Vec<SocketAddr>,
    node: usize,
}

impl Lane {
    pub fn new(number: usize, step: usize, nodes: Vec<SocketAddr>, seed: u64) -> Lane {
        let random = StdRng::seed_from_u64(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let node = number % nodes.len();
        Lane { number: number as u64, step: step as u64, http: Http::default(), random, unclear: 0, nodes, node }
    }

    pub fn process(&self) -> Process {
        Process::Client(self.number)
    }

    /// Goes on as a new process.
    pub fn renew(&mut self) {
        self.number += self.step;
        self.http = Http::default();
    }

    /// The node that this client speaks to.
    pub fn node(&self) -> SocketAddr {
        self.nodes[self.node]
    }

    /// Turns to another node.
    pub fn turn(&mut self) {
        if self.nodes.len() > 1 {
            self.node = (self.node + self.random.random_range(1..self.nodes.len())) % self.nodes.len();
        }
    }
}
