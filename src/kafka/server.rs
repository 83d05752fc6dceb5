//! Accepts connections of Kafka clients and bounds their number.
//!
//! Invariants: at most `connections_max` connections; every task belongs to [`crate::tasks::Tasks`]; once the node
//! stops, none is accepted and those that are open end within `shutdown_grace`.
//!
//! Not here: what is said on a connection.

use super::{Front, connection};
use crate::tasks::OnPanic;
use prometheus_client::metrics::gauge::Gauge;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Counts a connection while it is held.
struct Counted {
    connections: Arc<AtomicUsize>,
    shown: Gauge,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.shown.dec();
    }
}

/// Serves `listener` until the node stops; back once no connection is accepted any more.
pub async fn serve(listener: TcpListener, front: Arc<Front>) {
    let stopping = front.tasks.stopping();
    let connections = Arc::new(AtomicUsize::new(0));
    let full = AtomicBool::new(false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => take(&front, &connections, &full, stream, address),
            Err(error) => {
                // Out of file descriptors, mostly: without a pause this loop would take a whole core.
                tracing::warn!(%error, "cannot accept a Kafka connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn take(front: &Arc<Front>, connections: &Arc<AtomicUsize>, full: &AtomicBool, stream: TcpStream, address: SocketAddr) {
    let before = connections.fetch_add(1, Ordering::Relaxed);
    let shown = front.metrics.connections.clone();
    shown.inc();
    let counted = Counted { connections: connections.clone(), shown };
    let max = front.config.connections_max;
    if before >= max {
        // The protocol has no words for this. Said once for each time that it happens, not for each client.
        if !full.swap(true, Ordering::Relaxed) {
            tracing::warn!(client = %address, max, "there is no room for more Kafka connections: closing new ones");
        }
        return;
    }
    full.store(false, Ordering::Relaxed);
    // Latency matters more than a few small packets; a socket that is gone already shows at the first read.
    let _ = stream.set_nodelay(true);
    let front = front.clone();
    front.tasks.clone().spawn("Kafka connection", OnPanic::Log, async move {
        connection::serve(front, stream, address).await;
        drop(counted);
    });
}
