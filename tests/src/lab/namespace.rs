//! Network namespaces, each kept alive by a file that it is mounted on.

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    panic,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, statfs},
};
use rtnetlink::LinkUnspec;

use super::netlink;

/// IPv6, whatever this machine has set for itself, and nothing by which a namespace's kernel talks
/// where nobody asked it to: no link-local address, no router solicitation, no duplicate address
/// detection.
const QUIET_IPV6: [(&str, &str); 10] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/addr_gen_mode", "1"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/router_solicitations", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// A network namespace with its loopback interface up.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

impl Namespace {
    /// Makes a namespace and mounts it on a new file at `path`.
    ///
    /// # Errors
    /// Without privileges, and if `path` cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
        thread::scope(|scope| join(scope.spawn(|| unshare_onto(path))))
            .with_context(|| format!("cannot make the network namespace {}", path.display()))?;
        let file = File::open(path)?;
        let namespace = Self { file, path: path.into() };
        namespace.enter(quieten)?;
        netlink::run(&namespace, async |handle| {
            handle.link().set(LinkUnspec::new_with_index(1).up().build()).execute().await?;
            Ok(())
        })
        .context("cannot set lo up")?;
        Ok(namespace)
    }

    /// Runs `work` in a thread of its own in this namespace. A panic in it goes on here.
    ///
    /// # Panics
    /// If the namespace cannot be entered, which only happens without privileges.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            join(scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
                work()
            }))
        })
    }

    /// The inode number: what a BPF program sees as `net.ns.inum`.
    ///
    /// # Errors
    /// If the file system of the namespaces does not answer.
    pub fn inode(&self) -> Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// The file that the namespace is mounted on, for `nsenter --net=`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle to the namespace, for a child process to enter by.
    pub(super) fn try_clone_file(&self) -> Result<File> {
        Ok(self.file.try_clone()?)
    }

    pub(super) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The inode of the namespace mounted on `path`; `None` if none is.
pub(super) fn mounted_inode(path: &Path) -> Option<u64> {
    let mounted = statfs(path).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC);
    if mounted { Some(fs::metadata(path).ok()?.ino()) } else { None }
}

fn unshare_onto(path: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Files of `/proc/sys/net` are those of the namespace of the thread that opens them.
fn quieten() -> Result<()> {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(());
    }
    for (name, value) in QUIET_IPV6 {
        fs::write(Path::new("/proc/sys/net").join(name), value)
            .with_context(|| format!("cannot set net/{name} to {value}"))?;
    }
    Ok(())
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
}
