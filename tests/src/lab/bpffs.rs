//! A BPF file system of a host's own: pins in it are visible nowhere else and go with it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

/// Mounts an empty BPF file system on a new directory at `path`.
///
/// # Errors
/// Without privileges, and if the kernel has no BPF file system.
pub fn mount_at(path: &Path) -> Result<()> {
    fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0755"))
        .with_context(|| format!("cannot mount a BPF file system on {}", path.display()))
}

/// Deletes all that is pinned below `path`: programs whose last hold was a pinned link are
/// detached, as a dead kernel would lose them.
///
/// # Errors
/// If something stays.
pub fn clear(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        // The kernel's own `maps.debug` and `progs.debug`, in every such file system.
        if path.extension().is_some_and(|extension| extension == "debug") {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
            .with_context(|| format!("cannot delete {}", path.display()))?;
    }
    Ok(())
}
