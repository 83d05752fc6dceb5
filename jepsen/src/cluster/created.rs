//! What a run has made outside of its directory, noted before it is made, so that it can be removed after any end.
//!
//! One file for each run, in a directory of the user's own below the system's temporary directory: a line for each
//! thing. A run that ends in order removes the things and then the file; `jepsen clean` does so for a run whose runner
//! is gone. Processes are known by their id together with the time at which they were started, or by the run's
//! marker in their environment (one that was started just before the runner died was not noted yet), never by a name.
//!
//! Files in the run's directory (logs, disk images, histories) are not removed here: they are the evidence.

use crate::cluster::command;
use anyhow::{Context, bail};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In the environment of all that a run starts. (The product refuses variables with its own prefix that it does not know.)
pub const MARKER: &str = "JEPSEN_RUN";
/// For a process to be gone after SIGKILL, and a mount to be free then.
const GONE_TIME_MAX: Duration = Duration::from_secs(10);

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Thing {
    /// Who makes the rest; while it lives, the run is not over.
    Runner {
        pid: i32,
        started: u64,
    },
    /// A network namespace, with all links, bridges and rules in it.
    Namespace {
        name: String,
    },
    /// A file system on a loop device.
    Mount {
        dir: PathBuf,
        image: PathBuf,
    },
    Process {
        pid: i32,
        started: u64,
    },
}

/// The notes of one run.
pub struct Created {
    id: String,
    path: PathBuf,
    file: Mutex<File>,
}

/// When a process was started, in clock ticks since boot; nothing if there is none of this id (or only its remains).
pub fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields behind it are numbers, the first is the state.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let started = fields.nth(18)?.parse().ok()?;
    (!zombie).then_some(started)
}

fn registry() -> anyhow::Result<PathBuf> {
    let own = rustix::process::getuid().as_raw();
    let dir = std::env::temp_dir().join(format!("balsa-jepsen-{own}"));
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&dir).with_context(|| dir.display().to_string())?;
    // Anybody can make a directory of this name; what it says is carried out with our rights.
    let found = std::fs::symlink_metadata(&dir)?;
    if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
        bail!("{}: not a directory that only this user can write to; remove it", dir.display());
    }
    Ok(dir)
}

impl Created {
    /// Begins the notes of a run.
    pub fn begin(id: &str) -> anyhow::Result<Created> {
        let path = registry()?.join(id);
        let file = File::options().create_new(true).append(true).open(&path)?;
        let created = Created { id: id.to_owned(), path, file: Mutex::new(file) };
        let pid = std::process::id().cast_signed();
        created.note(&Thing::Runner { pid, started: started(pid).context("our own process is not in /proc")? })?;
        Ok(created)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Notes a thing that is about to be made. In the file when this returns: it outlives our process, and no thing
    /// outlives the machine.
    pub fn note(&self, thing: &Thing) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(thing)?;
        line.push(b'\n');
        Ok(self.file.lock().write_all(&line)?)
    }

    /// Removes all things, then the notes.
    ///
    /// # Errors
    /// What could not be removed; the notes stay then.
    pub async fn remove_all(&self) -> anyhow::Result<()> {
        remove(&self.path, &self.id).await.map(|_| ())
    }
}

/// What `clean` did about one run.
pub struct Cleaned {
    pub id: String,
    /// Its runner still lives, so it was left alone.
    pub running: bool,
    pub outcome: anyhow::Result<usize>,
}

/// Removes what runs left behind whose runner is gone.
pub async fn clean() -> anyhow::Result<Vec<Cleaned>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(registry()?)? {
        let entry = entry?;
        let id = entry.file_name().to_string_lossy().into_owned();
        let running = things(&entry.path())?
            .iter()
            .any(|thing| matches!(thing, Thing::Runner { pid, started: noted } if started(*pid) == Some(*noted)));
        let outcome = if running { Ok(0) } else { remove(&entry.path(), &id).await };
        all.push(Cleaned { id, running, outcome });
    }
    Ok(all)
}

fn things(path: &Path) -> anyhow::Result<Vec<Thing>> {
    let text = std::fs::read_to_string(path)?;
    // The last line may be cut off, and then what it says was not made yet.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

async fn remove(path: &Path, id: &str) -> anyhow::Result<usize> {
    if !path.exists() {
        // Done already.
        return Ok(0);
    }
    let things = things(path)?;
    let mut removed = end_processes(&things, id).await?;
    let mut failures = Vec::new();
    for thing in things.iter().rev() {
        let outcome = match thing {
            Thing::Runner { .. } => Ok(false),
            Thing::Process { pid, .. } => Ok(remove_fake_time(*pid)),
            Thing::Mount { dir, image } => unmount(dir, image).await,
            Thing::Namespace { name } => remove_namespace(name).await,
        };
        match outcome {
            Ok(there) => removed += usize::from(there),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if !failures.is_empty() {
        bail!("not removed: {}", failures.join("; "));
    }
    std::fs::remove_file(path)?;
    Ok(removed)
}

/// Kills the processes of a run, and waits until they are gone.
async fn end_processes(things: &[Thing], id: &str) -> anyhow::Result<usize> {
    let noted = |pid: i32| {
        let same = |thing: &Thing| matches!(thing, Thing::Process { pid: id, started: at } if *id == pid && started(pid) == Some(*at));
        things.iter().any(same)
    };
    let own = std::process::id().cast_signed();
    let mut killed = std::collections::BTreeSet::new();
    let deadline = tokio::time::Instant::now() + GONE_TIME_MAX;
    loop {
        let left: Vec<i32> =
            processes().into_iter().filter(|pid| *pid != own && (noted(*pid) || marked(*pid, id))).collect();
        if left.is_empty() {
            return Ok(killed.len());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("processes {left:?} do not end");
        }
        for pid in left {
            killed.insert(pid);
            kill(pid, rustix::process::Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a signal; a process that is gone needs none.
pub fn kill(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn processes() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| started(*pid).is_some()).collect()
}

fn marked(pid: i32, id: &str) -> bool {
    let marker = format!("{MARKER}={id}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
}

/// Unmounts a file system, and frees its loop device. Whether it was mounted.
pub async fn unmount(dir: &Path, image: &Path) -> anyhow::Result<bool> {
    let (dir_text, image_text) = (dir.display().to_string(), image.display().to_string());
    let deadline = tokio::time::Instant::now() + GONE_TIME_MAX;
    let mut there = false;
    while mounted_from(dir, image)? {
        there = true;
        // Busy for as long as a process that was just killed is being taken apart.
        if let Err(error) = command::run("umount", &[&dir_text]).await {
            if tokio::time::Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // Mounting frees the device with the file system, except where the runner died between the two.
    if image.exists() {
        let devices =
            command::run("losetup", &["--noheadings", "--output", "NAME", "--associated", &image_text]).await?;
        for device in devices.split_whitespace() {
            command::run("losetup", &["--detach", device]).await?;
            there = true;
        }
    }
    Ok(there)
}

/// Whether an image is mounted at a directory. What another run may have mounted there is not ours.
fn mounted_from(dir: &Path, image: &Path) -> anyhow::Result<bool> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let wanted = dir.display().to_string().replace(' ', "\\040");
    let devices = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, at) = (fields.next()?, fields.next()?);
        (at == wanted).then(|| device.trim_start_matches("/dev/"))
    });
    let image = image.display().to_string();
    let is_backed = |device: &str| {
        let file = std::fs::read_to_string(format!("/sys/block/{device}/loop/backing_file")).unwrap_or_default();
        file.trim_end().trim_end_matches(" (deleted)") == image
    };
    Ok(devices.into_iter().any(is_backed))
}

/// What `libfaketime` leaves in shared memory of a process that was killed. Named by the process, which is gone.
fn remove_fake_time(pid: i32) -> bool {
    let files = [format!("/dev/shm/faketime_shm_{pid}"), format!("/dev/shm/sem.faketime_sem_{pid}")];
    files.iter().filter(|file| std::fs::remove_file(file).is_ok()).count() > 0
}

async fn remove_namespace(name: &str) -> anyhow::Result<bool> {
    if !Path::new("/run/netns").join(name).exists() {
        return Ok(false);
    }
    command::run("ip", &["netns", "delete", name]).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_when_it_was_started() {
        let own = std::process::id().cast_signed();
        assert!(started(own).is_some());
        assert_eq!(started(own), started(own));
        assert_eq!(started(i32::MAX), None);
    }

    #[tokio::test]
    async fn only_the_runs_own_processes_are_ended() {
        let id = format!("test-{}", std::process::id());
        let sleeper = |marker: &str| {
            std::process::Command::new("sleep").arg("60").env(MARKER, marker).spawn().expect("sleep is installed")
        };
        let (mut ours, mut noted, mut other) = (sleeper(&id), sleeper("x"), sleeper("another-run"));
        let pid = noted.id().cast_signed();
        let things = [Thing::Process { pid, started: started(pid).unwrap() }];
        // What a child leaves behind is not taken for a process, so waiting for ours is not needed.
        assert_eq!(end_processes(&things, &id).await.unwrap(), 2);
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        for child in [&mut ours, &mut noted, &mut other] {
            child.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn a_process_of_the_same_id_that_was_started_later_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is installed");
        let pid = child.id().cast_signed();
        let things = [Thing::Process { pid, started: started(pid).unwrap() + 1 }];
        assert_eq!(end_processes(&things, "no-run-has-this-id").await.unwrap(), 0);
        assert_eq!(child.try_wait().unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
