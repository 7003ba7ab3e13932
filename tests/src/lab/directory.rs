//! A lab's directory: its name says who owns it, its content says what must be removed.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, umount2},
};

use super::{bpffs, namespace, process as processes};

/// Where the labs are, unless `OGHA_LAB_DIR` says otherwise. A disk, not `/run`: a database that
/// syncs to memory promotes faster than a real one.
const BASE: &str = "/var/lib/ogha-lab";

/// The file in a host's or a switch's directory that its network namespace is mounted on.
pub(super) const NAMESPACE: &str = "net";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Where the labs are.
pub(super) fn base() -> PathBuf {
    env::var_os("OGHA_LAB_DIR").map_or_else(|| BASE.into(), PathBuf::from)
}

/// `<base>/<pid>-<start time>-<counter>-<name>`: the first two name a process that ever was.
#[derive(Debug)]
pub(super) struct LabDirectory {
    path: PathBuf,
}

impl LabDirectory {
    pub(super) fn create(name: &str) -> Result<Self> {
        let pid = process::id();
        let start = processes::start_time(pid as i32).context("cannot read /proc/self/stat")?;
        let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = base().join(format!("{pid}-{start}-{counter}-{name}"));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        // The databases run as another user.
        for open in [&base(), &path] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LabDirectory {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            eprintln!("the lab {} is not wholly removed: {error:#}", self.path.display());
        }
    }
}

/// Keeps all others out that want to change what lies beside the labs, until it is dropped.
pub(super) fn lock() -> Result<Flock<fs::File>> {
    let base = base();
    fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    Flock::lock(fs::File::open(&base)?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .context("cannot lock the labs' directory")
}

/// Removes every lab whose owner is dead.
pub(super) fn sweep() -> Result<()> {
    remove_where(|owner| processes::start_time(owner.0) != Some(owner.1))
}

/// Removes every lab of this process.
pub(super) fn remove_own() -> Result<()> {
    remove_where(|owner| owner.0 == process::id() as i32)
}

fn remove_where(condition: impl Fn((i32, u64)) -> bool) -> Result<()> {
    // Two sweepers at once would trip over each other.
    let _lock = lock()?;
    for entry in fs::read_dir(base())? {
        let path = entry?.path();
        if owner(&path).is_some_and(&condition) {
            let removed = remove(&path);
            // Whoever else removed it meanwhile has done this work.
            if path.exists() {
                removed.with_context(|| format!("cannot remove the lab {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Process id and start time; `None` for names that are not of our making.
fn owner(lab: &Path) -> Option<(i32, u64)> {
    let mut parts = lab.file_name()?.to_str()?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Ends the processes of a lab, unmounts what is mounted in it and deletes it.
fn remove(lab: &Path) -> Result<()> {
    end_processes(lab)?;
    for point in mount_points(lab)? {
        if point.is_dir() {
            // Another mount namespace may hold a copy of this mount, and with it the pins: the
            // programs would stay attached for as long as it does.
            bpffs::clear(&point)?;
        }
        match umount2(&point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("cannot unmount {}", point.display()));
            }
        }
    }
    match fs::remove_dir_all(lab) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn end_processes(lab: &Path) -> Result<()> {
    for entry in fs::read_dir(lab)? {
        let file = entry?.path().join(NAMESPACE);
        if let Some(inode) = namespace::mounted_inode(&file) {
            processes::kill_all_in(inode)?;
        }
    }
    Ok(())
}

/// What is mounted below `lab`, the last mounted first.
fn mount_points(lab: &Path) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(lab))
        .collect();
    points.reverse();
    Ok(points)
}
