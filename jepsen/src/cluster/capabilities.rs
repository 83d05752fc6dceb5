//! What this machine lets us do. Each is tried, not guessed: a tool may be installed and refused by the kernel.
//!
//! What is missing has a text that says what would help. A fault that needs something that is missing is not done,
//! and the run says so.

use crate::cluster::command::{self, found};
use crate::cluster::created::{Created, unmount};
use crate::cluster::disk::Disk;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Something that a fault may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// A network namespace for each node, with a bridge between them.
    Namespaces,
    /// An ext4 file system on a loop device for each node, whose power can be cut.
    LoopDisk,
    /// Links can be cut: by nft, or by routes.
    Cut,
    /// Packets can be dropped by chance.
    Loss,
    /// `tc tbf`
    Bandwidth,
    /// `tc netem`
    Netem,
    /// `strace`, for errors of system calls.
    Strace,
    /// `libfaketime`, for another time of day.
    FakeTime,
}

pub const ALL: [Capability; 8] = [
    Capability::Namespaces,
    Capability::LoopDisk,
    Capability::Cut,
    Capability::Loss,
    Capability::Bandwidth,
    Capability::Netem,
    Capability::Strace,
    Capability::FakeTime,
];

impl Capability {
    pub fn name(self) -> &'static str {
        match self {
            Capability::Namespaces => "network namespaces",
            Capability::LoopDisk => "ext4 on loop devices, with power cuts",
            Capability::Cut => "cutting links",
            Capability::Loss => "losing packets",
            Capability::Bandwidth => "limiting bandwidth (tc tbf)",
            Capability::Netem => "delaying packets (tc netem)",
            Capability::Strace => "failing system calls (strace)",
            Capability::FakeTime => "another time of day (libfaketime)",
        }
    }
}

/// What was found: for each capability that is missing, why.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    missing: BTreeMap<Capability, String>,
}

impl Capabilities {
    /// Why something cannot be done, if so.
    pub fn missing(&self, capability: Capability) -> Option<&str> {
        self.missing.get(&capability).map(String::as_str)
    }

    pub fn has(&self, capability: Capability) -> bool {
        !self.missing.contains_key(&capability)
    }

    /// Tries everything; `scratch` is where disk images will be. Leaves nothing behind.
    pub async fn probe(scratch: &Path, without_namespaces: bool) -> anyhow::Result<Capabilities> {
        let mut missing = BTreeMap::new();
        let mut note = |capability, outcome: Result<(), String>| {
            if let Err(reason) = outcome {
                missing.insert(capability, reason);
            }
        };
        let root = rustix::process::geteuid().is_root();
        let allowed = match (without_namespaces, root) {
            (true, _) => Err("left out by --no-namespaces".to_owned()),
            (_, false) => Err("needs root".to_owned()),
            _ => Ok(()),
        };
        note(Capability::Strace, strace().await);
        note(Capability::FakeTime, fake_time().map(|_| ()));
        if let Err(reason) = &allowed {
            use Capability::{Bandwidth, Cut, LoopDisk, Loss, Namespaces, Netem};
            for capability in [Namespaces, LoopDisk, Cut, Loss, Bandwidth, Netem] {
                note(capability, Err(reason.clone()));
            }
            return Ok(Capabilities { missing });
        }
        let id = format!("probe-{}", std::process::id());
        let created = Created::begin(&id)?;
        note(Capability::LoopDisk, tried(loop_disk(&created, scratch, &id).await));
        let namespace = namespace(&created, &id).await;
        let inside = |reason: &str| namespace.as_ref().err().map_or(reason.to_owned(), |error| format!("{error:#}"));
        if let Ok(name) = &namespace {
            note(Capability::Loss, tried(loss(name).await));
            note(
                Capability::Bandwidth,
                tried(shaping(name, &["tbf", "rate", "1mbit", "burst", "16kb", "latency", "1ms"]).await),
            );
            note(Capability::Netem, tried(shaping(name, &["netem", "delay", "1ms"]).await));
        } else {
            use Capability::{Bandwidth, Cut, Loss, Namespaces, Netem};
            for capability in [Namespaces, Cut, Loss, Bandwidth, Netem] {
                note(capability, Err(inside("")));
            }
        }
        created.remove_all().await?;
        Ok(Capabilities { missing })
    }
}

fn tried(outcome: anyhow::Result<()>) -> Result<(), String> {
    outcome.map_err(|error| format!("{error:#}"))
}

async fn namespace(created: &Created, id: &str) -> anyhow::Result<String> {
    for tool in ["ip", "nsenter"] {
        anyhow::ensure!(found(tool).is_some(), "{tool} is not installed (iproute2, util-linux)");
    }
    let name = format!("bj-{id}");
    created.note(&crate::cluster::created::Thing::Namespace { name: name.clone() })?;
    command::run("ip", &["netns", "add", &name]).await?;
    let links = "link add probe type bridge\nlink add name end0 type veth peer name end1\n";
    command::run_with_input("ip", &["-n", &name, "-batch", "-"], links).await?;
    Ok(name)
}

async fn loss(namespace: &str) -> anyhow::Result<()> {
    anyhow::ensure!(found("nft").is_some(), "nft is not installed (nftables)");
    let table = "table bridge probe {\n chain links { type filter hook forward priority 0;\n numgen random mod 100 < 1 drop\n }\n}\n";
    let inside = format!("--net=/run/netns/{namespace}");
    command::run_with_input("nsenter", &[&inside, "nft", "-f", "-"], table).await.map(|_| ())
}

async fn shaping(namespace: &str, discipline: &[&str]) -> anyhow::Result<()> {
    anyhow::ensure!(found("tc").is_some(), "tc is not installed (iproute2)");
    let mut arguments = vec!["-n", namespace, "qdisc", "replace", "dev", "end0", "root"];
    arguments.extend(discipline);
    command::run("tc", &arguments).await.map(|_| ())
}

async fn loop_disk(created: &Created, scratch: &Path, id: &str) -> anyhow::Result<()> {
    for tool in ["mkfs.ext4", "mount", "losetup"] {
        anyhow::ensure!(found(tool).is_some(), "{tool} is not installed (e2fsprogs, mount)");
    }
    let (dir, image) = (scratch.join(id), scratch.join(format!("{id}.img")));
    let outcome = async {
        let disk = Disk::image(created, dir.clone(), image.clone()).await?;
        disk.power_off()?;
        disk.power_on().await?;
        disk.discard().await
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        // Whatever was reached; the error that counts is the one above.
        let _ = unmount(&dir, &image).await;
        let _ = std::fs::remove_file(&image);
        let _ = std::fs::remove_dir(&dir);
    }
    outcome
}

async fn strace() -> Result<(), String> {
    if found("strace").is_none() {
        return Err("strace is not installed".to_owned());
    }
    // Attaching to others may be forbidden where tracing a child is not, and the injection needs a recent one.
    let probe = "sleep 5 & strace -f -o /dev/null -e trace=fsync -e inject=fsync:error=EIO -p $! & sleep 0.3; kill %1; wait %2 2>/dev/null; true";
    let output = command::run("sh", &["-c", &format!("({probe}) 2>&1")]).await.map_err(|error| format!("{error:#}"))?;
    if output.contains("ttach: ") && !output.contains("attached") {
        return Err(output.trim().to_owned());
    }
    Ok(())
}

/// The library that shows a process another time of day.
pub fn fake_time() -> Result<PathBuf, String> {
    let dirs = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
    let files = dirs.iter().map(|dir| Path::new(dir).join("faketime/libfaketimeMT.so.1"));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| "libfaketime is not installed (faketime)".to_owned())
}
