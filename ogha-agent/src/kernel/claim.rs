//! Whose data plane it is: an agent holds a lock on its `bpf_dir` for as long as it lives, however it is.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use ogha_common::maps::{MAX_INSTANCES, Watch, name};

use super::{checks, layout};

/// The lock of a `bpf_dir`. The kernel drops it with the process that holds it.
#[derive(Debug)]
pub struct Claim {
    bpf_dir: PathBuf,
    directory: File,
}

impl Claim {
    /// Takes the lock. The directory is made if it is not there.
    ///
    /// # Errors
    /// When another agent has it, or `bpf_dir` cannot be used.
    pub fn take(bpf_dir: &Path) -> anyhow::Result<Self> {
        checks::bpf_dir(bpf_dir)?;
        let directory = open(bpf_dir)?;
        match directory.try_lock() {
            Ok(()) => Ok(Self { bpf_dir: bpf_dir.to_owned(), directory }),
            Err(TryLockError::WouldBlock) => bail!(
                "another agent ({}) works on {}; stop it first, or set another node.bpf_dir",
                whose(bpf_dir),
                bpf_dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", bpf_dir.display()))
            }
        }
    }

    /// Takes the lock again where the directory was removed and made anew.
    pub(super) fn renew(&mut self) -> anyhow::Result<()> {
        let place = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
        let there = open(&self.bpf_dir)?;
        if place(&there).ok() != place(&self.directory).ok() {
            there.try_lock().with_context(|| format!("cannot lock {}", self.bpf_dir.display()))?;
            self.directory = there;
        }
        Ok(())
    }
}

/// The agent that has claimed a `bpf_dir`, in words. `None`: none has.
#[must_use]
pub fn claimed(bpf_dir: &Path) -> Option<String> {
    let directory = open(bpf_dir).ok()?;
    match directory.try_lock() {
        Err(TryLockError::WouldBlock) => Some(whose(bpf_dir)),
        _ => None,
    }
}

fn open(bpf_dir: &Path) -> anyhow::Result<File> {
    File::open(bpf_dir).with_context(|| format!("cannot open {}", bpf_dir.display()))
}

/// The process, as the maps have it.
fn whose(bpf_dir: &Path) -> String {
    let watches = layout::array::<Watch>(bpf_dir, name::WATCHES);
    let agent = watches.and_then(|watches| {
        let of = |instance| watches.get(&instance, 0).ok().map(|watch| watch.0.agent);
        (0..MAX_INSTANCES as u32).filter_map(of).find(|&pid| pid != 0)
    });
    agent.map_or_else(|| "which is starting".to_owned(), |pid| format!("process {pid}"))
}
