//! A file system of its own for a directory, which can be frozen: who writes then waits, and gets no
//! error.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

const SIZE: u64 = 16 << 20;

/// A small file system mounted on a directory. Dropping it lets everybody write again, and unmounts it
/// with the last user.
#[derive(Debug)]
pub struct Freezer {
    point: PathBuf,
}

impl Freezer {
    /// Mounts it on an existing, empty directory; `image` is a file to make.
    ///
    /// # Errors
    /// If this machine has no loop devices.
    pub fn mount(point: &Path, image: &Path) -> Result<Self> {
        File::create_new(image)?.set_len(SIZE)?;
        run("mkfs.ext4", &["-q".as_ref(), image])?;
        run("mount", &["-o".as_ref(), "loop".as_ref(), image, point])?;
        Ok(Self { point: point.to_owned() })
    }

    /// Nobody's write returns any more.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn freeze(&self) -> Result<()> {
        run("fsfreeze", &["--freeze".as_ref(), &self.point])
    }

    /// All writes go on.
    ///
    /// # Errors
    /// If it is not frozen.
    pub fn thaw(&self) -> Result<()> {
        run("fsfreeze", &["--unfreeze".as_ref(), &self.point])
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = self.thaw();
        let _ = run("umount", &["--lazy".as_ref(), &self.point]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {}", said.trim());
    Ok(())
}
