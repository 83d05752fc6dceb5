//! What a node stands on, in one value, so that a simulation can put something else below the same node.
//!
//! Does not build anything: see [`super::Node::build`].

use crate::clock::{SharedClock, SystemClock};
use crate::random::Random;
use crate::tasks::Tasks;
use crate::transport::net::{Net, TcpNet};
use crate::vfs::{RealFs, Vfs};
use std::sync::Arc;

/// The world around a node. Timers are not in it: they are tokio's, whose clock a simulation owns by itself.
pub struct World {
    pub fs: Arc<dyn Vfs>,
    /// Connections between nodes.
    pub net: Arc<dyn Net>,
    /// Wall-clock time.
    pub clock: SharedClock,
    pub random: Random,
    pub tasks: Tasks,
    /// No flusher threads: whoever made this world calls [`crate::storage::Store::flush_next`].
    pub flush_on_demand: bool,
}

impl World {
    /// This machine.
    pub fn real() -> World {
        World {
            fs: Arc::new(RealFs),
            net: Arc::new(TcpNet),
            clock: Arc::new(SystemClock),
            random: Random::from_system(),
            tasks: Tasks::new(),
            flush_on_demand: false,
        }
    }
}
