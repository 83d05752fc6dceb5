//! EIO on every sync of a node for a while. What it could not sync it must never call durable, also when later syncs
//! succeed; so the fault ends with a power cut where that can be done, which takes away what was not synced, and with a
//! kill where not.

use crate::cluster::capabilities::Capability;
use crate::cluster::created::{MARKER, kill};
use crate::fault::{Begun, Fault, Field, Footprint, What, hold, lasting, one_node, what};
use anyhow::Context;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

pub struct FsyncError;

const INJECTION: &str = "inject=fdatasync,fsync:error=EIO";
/// For `strace` to end once told to.
const DETACH_TIME_MAX: Duration = Duration::from_secs(5);

impl Fault for FsyncError {
    fn name(&self) -> &'static str {
        "fsync-error"
    }

    fn about(&self) -> &'static str {
        "every sync of a node fails with EIO for a while, then its power is cut (or it is killed)"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Strace]
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let node = one_node(random, nodes);
        let lasts = lasting(random, 300..1000);
        what("one", vec![node], Footprint::Nodes(vec![node]), lasts)
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let holds = hold(field, &what.nodes).await;
            let node = field.cluster.node(what.nodes[0]);
            let pid = node.pid().context("the node does not run")?.to_string();
            // A node may end itself when its disk fails; that is no news.
            node.expect_end();
            let limit = (what.lasts + Duration::from_secs(30)).as_secs().to_string();
            let line = [
                "-k",
                "1",
                &limit,
                "strace",
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync,fsync",
                "-e",
                INJECTION,
            ];
            let mut strace = Command::new("timeout")
                .args(line)
                .args(["-p", &pid])
                .env(MARKER, field.cluster.created.id())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            // For as long again as it lasts after this, syncs succeed.
            tokio::time::sleep(what.lasts).await;
            if let Some(pid) = strace.id() {
                kill(pid.cast_signed(), rustix::process::Signal::TERM);
            }
            let detached = tokio::time::timeout(DETACH_TIME_MAX, strace.wait()).await;
            detached.context("strace does not detach")??;
            Ok(Begun::of(what.nodes.clone(), "EIO", holds))
        })
    }

    fn end<'a>(&'a self, field: &'a Field, what: &'a What, _: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async {
            let node = field.cluster.node(what.nodes[0]);
            if !node.disk.is_image() {
                node.kill().await?;
                return node.start();
            }
            node.disk.power_off()?;
            node.kill().await?;
            node.disk.power_on().await?;
            node.start()
        })
    }
}
