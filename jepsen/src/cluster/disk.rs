//! A node's disk: an ext4 file system on a loop device, whose power can be cut and which can be filled; or, without the
//! rights for that, a directory.
//!
//! A power cut is ext4's own: `EXT4_IOC_SHUTDOWN` without a flush of its log. What was written and not synced is
//! gone, since it was in the page cache of a file system that takes no more writes; what was synced is in the image.

use crate::cluster::command;
use crate::cluster::created::{Created, Thing, unmount};
use anyhow::Context;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Small enough to be filled quickly, large enough for a long run; the image has holes where nothing was written.
const IMAGE_BYTES: u64 = 2 << 30;
/// What a full disk has left.
const LEFT_BYTES: u64 = 256 << 10;
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
const SHUTDOWN_WITHOUT_LOG_FLUSH: u32 = 2;

pub struct Disk {
    dir: PathBuf,
    /// Nothing where the disk is a plain directory.
    image: Option<PathBuf>,
}

impl Disk {
    /// A directory on whatever file system there is.
    pub fn plain(dir: PathBuf) -> anyhow::Result<Disk> {
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(Disk { dir, image: None })
    }

    /// A file system of its own, mounted at `dir`.
    pub async fn image(created: &Created, dir: PathBuf, image: PathBuf) -> anyhow::Result<Disk> {
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        std::fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
        let path = image.display().to_string();
        // No blocks for root: a full disk is one for the node too.
        command::run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", &path]).await?;
        created.note(&Thing::Mount { dir: dir.clone(), image: image.clone() })?;
        let disk = Disk { dir, image: Some(image) };
        disk.mount().await?;
        Ok(disk)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the node keeps its data: a directory below the mount, since the mount has one of ext4's own.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn is_image(&self) -> bool {
        self.image.is_some()
    }

    async fn mount(&self) -> anyhow::Result<()> {
        let image = self.image.as_ref().context("a plain directory is not mounted")?;
        let (image, dir) = (image.display().to_string(), self.dir.display().to_string());
        command::run("mount", &["-t", "ext4", "-o", "loop,noatime", &image, &dir]).await.map(|_| ())
    }

    /// Cuts the power: what was not synced is lost. Every access fails from now on, until [`Disk::power_on`].
    pub fn power_off(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.is_image(), "{} has no power of its own to cut", self.dir.display());
        shut_down(&self.dir)
    }

    /// Mounts it again. Nobody may have a file open there.
    pub async fn power_on(&self) -> anyhow::Result<()> {
        let image = self.image.as_ref().context("a plain directory has no power")?;
        unmount(&self.dir, image).await?;
        self.mount().await
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Fills it up.
    pub fn fill(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.is_image(), "{} is not a disk of its own", self.dir.display());
        let ballast = std::fs::File::create(self.ballast())?;
        let stats = rustix::fs::statvfs(&self.dir)?;
        let free = (stats.f_bavail * stats.f_frsize).saturating_sub(LEFT_BYTES);
        rustix::fs::fallocate(ballast.as_fd(), rustix::fs::FallocateFlags::empty(), 0, free.max(4096))?;
        Ok(())
    }

    /// Makes room again.
    pub fn empty(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Unmounts it and removes the image.
    pub async fn discard(&self) -> anyhow::Result<()> {
        if let Some(image) = &self.image {
            unmount(&self.dir, image).await?;
            std::fs::remove_file(image)?;
        }
        Ok(std::fs::remove_dir_all(&self.dir)?)
    }
}

/// Stops an ext4 file system without a flush of its log.
pub fn shut_down(dir: &Path) -> anyhow::Result<()> {
    let opened = std::fs::File::open(dir).with_context(|| dir.display().to_string())?;
    // SAFETY: the kernel reads one u32 behind the pointer that `Setter` passes, and keeps nothing of it.
    unsafe {
        let request = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(SHUTDOWN_WITHOUT_LOG_FLUSH);
        rustix::ioctl::ioctl(opened.as_fd(), request)?;
    }
    Ok(())
}
