//! The writing side of a connection: whatever has queued up goes out in one write.

use super::frame::{Frame, Outgoing};
use super::lane::Source;
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Writes what `source` gives until the connection breaks. While one write is on its way the next batch collects by
/// itself, so that many small frames share a system call under load and none waits without load.
pub(super) async fn write_frames<W: AsyncWrite + Unpin>(source: &impl Source, mut write: W) -> io::Error {
    let mut batch: Vec<Frame> = Vec::new();
    let mut out = Outgoing::default();
    loop {
        source.take(&mut batch);
        if batch.is_empty() {
            source.ready().notified().await;
            continue;
        }
        let (mut messages, mut bytes) = (0, 0);
        for frame in batch.drain(..) {
            messages += 1;
            bytes += frame.wire_bytes();
            frame.encode(&mut out);
        }
        let written = async {
            out.write_all(&mut write).await?;
            write.flush().await
        };
        if let Err(error) = written.await {
            return error;
        }
        source.counters().sent(messages, bytes);
    }
}
