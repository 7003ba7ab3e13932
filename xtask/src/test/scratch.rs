//! Where the tests of a run put their temporary files.
//!
//! A test that is killed removes nothing, so it gets a directory of its own that is removed for it; a
//! database that it left behind ends when its directory has gone. What a killed run left is removed by
//! the next one: the kernel has let go of the lock on it.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const PREFIX: &str = "ogha-tests-";

/// The directory of this run. Dropping it removes it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes one below `base`, and removes those of runs that have died.
    pub fn new(base: &Path) -> Result<Self> {
        sweep(base)?;
        let pid = std::process::id();
        let path = base.join(format!("{PREFIX}{pid}"));
        // By this name it is nobody's to sweep, till it is locked.
        let unlocked = base.join(format!("new-{PREFIX}{pid}"));
        let made = || -> Result<File> {
            make(&unlocked)?;
            let lock = File::open(&unlocked)?;
            lock.try_lock()?;
            fs::rename(&unlocked, &path)?;
            Ok(lock)
        };
        let lock = made().with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// A directory for one test: `number` is its own.
    pub fn directory(&self, number: usize) -> Result<PathBuf> {
        let path = self.path.join(number.to_string());
        make(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Open to all, as `/tmp` is: databases run as another user.
fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o1777))?)
}

fn sweep(base: &Path) -> Result<()> {
    let entries = fs::read_dir(base).with_context(|| format!("cannot read {}", base.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let ours = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PREFIX));
        let dead = || File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if ours && dead() {
            println!("removing what a killed run has left: {}", path.display());
            // A database that still runs may write while it is removed: the next run goes on.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> PathBuf {
        let base = std::env::temp_dir().join(format!("scratch-{name}-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        base
    }

    #[test]
    fn a_run_leaves_nothing() {
        let base = base("nothing");
        let scratch = Scratch::new(&base).unwrap();
        let directory = scratch.directory(7).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o1777);
        fs::write(directory.join("file"), "").unwrap();
        drop(scratch);
        fs::remove_dir(base).expect("it is empty");
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_a_living_one_has_is_not() {
        let base = base("killed");
        let (dead, living) = (base.join("ogha-tests-1"), base.join("ogha-tests-2"));
        let foreign = base.join("something-else");
        for path in [&dead, &living, &foreign] {
            fs::create_dir_all(path.join("0")).unwrap();
        }
        let lock = File::open(&living).unwrap();
        lock.try_lock().unwrap();
        let scratch = Scratch::new(&base).unwrap();
        assert!(!dead.exists());
        assert!(living.exists() && foreign.exists() && scratch.path.exists());
        drop((scratch, lock));
        fs::remove_dir_all(base).unwrap();
    }
}
