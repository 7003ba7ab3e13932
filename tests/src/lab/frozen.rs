//! A file system of its own for a directory, which can be frozen: who writes then waits, and gets no
//! error.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{Postgres, postgres::give_to_the_database};

const SIZE: u64 = 16 << 20;
/// Enough for a database of the lab and its WAL. What is not written takes no room.
const DATABASE: u64 = 1 << 30;

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
        Self::mount_of(SIZE, point, image)
    }

    /// Moves a database that does not run to a file system of its own.
    ///
    /// # Errors
    /// If this machine has no loop devices.
    pub fn under(database: &Postgres) -> Result<Self> {
        let (data, moved) = (database.data_dir(), database.data_dir().with_extension("moved"));
        fs::rename(&data, &moved)?;
        fs::create_dir(&data)?;
        let image = database.host().directory().join("database.disk");
        let disk = Self::mount_of(DATABASE, &data, &image)?;
        fs::remove_dir(data.join("lost+found"))?;
        run("cp", &["--archive".as_ref(), &moved.join("."), &data])?;
        give_to_the_database(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        fs::remove_dir_all(&moved)?;
        Ok(disk)
    }

    fn mount_of(size: u64, point: &Path, image: &Path) -> Result<Self> {
        File::create_new(image)?.set_len(size)?;
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
