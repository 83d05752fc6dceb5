//! Flipped bits and cut files in the data of one node, while it does not run.
//!
//! Only what no crash explains is damaged: a segment that is followed by another, or the middle of the last one. The
//! end of the last one may be torn by any crash, so a node that drops it is right. By design a node refuses a damaged
//! log for good, and the other replicas go on; so this fault stays until the load ends, comes once in a run, and
//! whatever else happens leaves a majority without that node. The directory is not wiped: the product says to rebuild
//! such a replica from its peers, and has no command for it yet.

use crate::cluster::capabilities::Capability;
use crate::fault::{Begun, Fault, Field, Footprint, What, hold, one_node, what};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub struct Corrupt;

/// Smaller files have hardly a record.
const BYTES_MIN: u64 = 8 << 10;
const FLIPS: usize = 4;
const FILES_MAX: usize = 12;

impl Fault for Corrupt {
    fn name(&self) -> &'static str {
        "corrupt"
    }

    fn about(&self) -> &'static str {
        "bits are flipped and files cut in one node's data; it must refuse them (stays until the load ends)"
    }

    fn needs(&self) -> &'static [Capability] {
        &[]
    }

    fn stays(&self) -> bool {
        true
    }

    fn plan(&self, random: &mut StdRng, nodes: u16) -> What {
        let node = one_node(random, nodes);
        // More often the one that only a checksum shows.
        let variant = if random.random_ratio(3, 4) { "flipped bits" } else { "a cut file" };
        What { draw: random.random(), ..what(variant, vec![node], Footprint::Nodes(vec![node]), Duration::ZERO) }
    }

    fn begin<'a>(&'a self, field: &'a Field, what: &'a What, _: u64) -> BoxFuture<'a, anyhow::Result<Begun>> {
        Box::pin(async {
            let holds = hold(field, &what.nodes).await;
            let node = field.cluster.node(what.nodes[0]);
            node.kill().await?;
            // It may refuse to start at all; that is for the operator to solve, and no news.
            node.excuse();
            let damaged = damage(&node.disk.data_dir(), what);
            node.start()?;
            Ok(Begun::of(what.nodes.clone(), damaged?, holds))
        })
    }

    fn end<'a>(&'a self, _: &'a Field, _: &'a What, _: &'a Begun, _: u64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Segments by their group, each group's in order.
fn segments(data_dir: &Path) -> Vec<Vec<PathBuf>> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let groups = list(&data_dir.join("groups"));
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "segment");
    groups.iter().map(|group| list(group).into_iter().filter(is_segment).collect()).collect()
}

/// Damages some files. Which, in words.
fn damage(data_dir: &Path, what: &What) -> anyhow::Result<String> {
    let mut random = StdRng::seed_from_u64(what.draw);
    let groups = segments(data_dir);
    let large = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|metadata| metadata.len() >= BYTES_MIN);
    let closed = groups.iter().flat_map(|group| &group[..group.len().saturating_sub(1)]).filter(|path| large(path));
    let mut candidates: Vec<PathBuf> = closed.cloned().collect();
    // A cut of the last file of a log is what a crash may leave; early in a run there may be no other.
    let cut = what.variant == "a cut file" && !candidates.is_empty();
    if !cut {
        candidates = groups.into_iter().flatten().filter(large).collect();
    }
    anyhow::ensure!(!candidates.is_empty(), "no file is large enough yet to be damaged");
    let mut done = Vec::new();
    for _ in 0..FILES_MAX.min(candidates.len()) {
        let path = candidates.swap_remove(random.random_range(0..candidates.len()));
        let file = File::options().read(true).write(true).open(&path)?;
        let bytes = file.metadata()?.len();
        if cut {
            file.set_len(random.random_range(bytes / 4..bytes * 3 / 4))?;
        } else {
            for _ in 0..FLIPS {
                let at = random.random_range(bytes / 8..bytes / 2);
                let mut byte = [0];
                file.read_exact_at(&mut byte, at)?;
                byte[0] ^= 1 << random.random_range(0..8);
                file.write_all_at(&byte, at)?;
            }
        }
        file.sync_all()?;
        done.push(path.strip_prefix(data_dir).unwrap_or(&path).display().to_string());
    }
    Ok(format!("{}: {}", if cut { "cut short" } else { "flipped bits" }, done.join(", ")))
}
