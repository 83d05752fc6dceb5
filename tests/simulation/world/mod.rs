//! What stands below the nodes: time, entropy, network, hosts. All of it is decided by one seed.

pub mod clock;
pub mod entropy;
pub mod host;
pub mod network;
pub mod pipe;
