//! The freezer of control groups: processes that neither run nor know it.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;

use super::Postgres;

/// How many this process has made: each has a name of its own.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// A control group that can be frozen with the processes in it. Dropping it lets them go on.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    root: PathBuf,
    /// The file that freezes, and what is written to it.
    switch: (&'static str, [&'static str; 2]),
}

/// Which version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The controller `freezer`.
    One,
    /// `cgroup.freeze`.
    Two,
}

impl Cgroup {
    /// Makes one; `None` if this machine has none of that version where they usually are.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new(version: Version) -> Result<Option<Self>> {
        let (roots, switch): (&[&str], _) = match version {
            Version::One => (&["/sys/fs/cgroup/freezer"], ("freezer.state", ["FROZEN", "THAWED"])),
            Version::Two => {
                (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], ("cgroup.freeze", ["1", "0"]))
            }
        };
        for root in roots.iter().map(PathBuf::from) {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let directory = root.join(format!("ogha-lab-{}-{number}", std::process::id()));
            let is_one = root.join("cgroup.procs").exists() && fs::create_dir(&directory).is_ok();
            if is_one && directory.join(switch.0).exists() {
                return Ok(Some(Self { directory, root, switch }));
            }
            if is_one {
                fs::remove_dir(&directory)?;
            }
        }
        Ok(None)
    }

    /// Puts all processes of a database in it.
    ///
    /// # Errors
    /// If it does not run.
    pub fn take(&self, database: &Postgres) -> Result<()> {
        for pid in database.processes()? {
            // One that has ended meanwhile needs no group.
            let _ = fs::write(self.directory.join("cgroup.procs"), pid.to_string());
        }
        Ok(())
    }

    /// Freezes all in it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn freeze(&self) -> Result<()> {
        let (file, [frozen, _]) = self.switch;
        Ok(fs::write(self.directory.join(file), frozen)?)
    }

    /// They go on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        let (file, [_, thawed]) = self.switch;
        Ok(fs::write(self.directory.join(file), thawed)?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = self.thaw();
        // Those that were killed meanwhile end now, and are in it until they have.
        for _ in 0..100 {
            let pids = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
            for pid in pids.lines() {
                let _ = fs::write(self.root.join("cgroup.procs"), pid);
            }
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
