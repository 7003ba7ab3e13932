//! Hosts, switches and what runs on them, on one machine.
//!
//! A [`Lab`] owns one directory. Everything that it makes can be found from that directory: the
//! namespaces are files bind-mounted in it, the processes are those in these namespaces, the
//! BPF objects are pinned in file systems mounted in it. So one function removes a lab, whoever
//! made it: [`Lab`]'s drop, also in a panic, or the next lab after a killed run.

pub mod adverts;
pub mod agent;
pub mod bpffs;
pub mod cgroup;
pub mod client;
pub mod clock;
pub mod config;
mod directory;
pub mod etcd;
pub mod floor;
pub mod frozen;
pub mod host;
pub mod keepalived;
mod link;
pub mod namespace;
mod netlink;
pub mod pair;
pub mod postgres;
pub mod process;
pub mod router;
mod spawner;
pub mod sql;
pub mod storm;
mod switch;
pub mod tamper;
mod template;
pub mod watcher;
pub mod writer;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, ensure};

pub use self::{
    agent::Agent, config::Families, etcd::Etcd, host::Host, keepalived::Keepalived, link::Link,
    link::ipv6_of, namespace::Namespace, pair::Pair, postgres::Postgres, switch::Switch,
    template::Template, watcher::Watcher, writer::Writer,
};
use self::{directory::LabDirectory, spawner::Spawner};

/// One lab. Dropping it ends every process in it and removes all that it made.
#[derive(Debug)]
pub struct Lab {
    spawner: Arc<Spawner>,
    directory: LabDirectory,
}

impl Lab {
    /// Makes an empty lab, after removing those whose owner is dead. `name` is for people who
    /// look at the directories; labs of one name never collide.
    ///
    /// # Errors
    /// Without root, and if the directory cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "the lab needs root: run it with sudo");
        directory::sweep()?;
        Ok(Self { spawner: Arc::new(Spawner::start()), directory: LabDirectory::create(name)? })
    }

    /// Removes the labs whose owner is dead, as every [`Lab::new`] does first.
    ///
    /// # Errors
    /// If something of a dead lab cannot be removed.
    pub fn sweep() -> Result<()> {
        directory::sweep()
    }

    /// Removes every lab of this process, for one that was told to end and has no time to
    /// unwind.
    ///
    /// # Errors
    /// If something of one cannot be removed.
    pub fn remove_own() -> Result<()> {
        directory::remove_own()
    }

    /// The directory below which everything of this lab is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A switch without hosts.
    ///
    /// # Errors
    /// If the namespace or the bridge cannot be made.
    pub fn switch(&self, name: &str) -> Result<Arc<Switch>> {
        Ok(Arc::new(Switch::create(&self.subdirectory(name)?)?))
    }

    /// A host called `name` with its interface `eth0` at `switch`, of that address in a /24.
    ///
    /// # Errors
    /// If a part of it cannot be made.
    pub fn host(&self, name: &str, switch: &Arc<Switch>, address: Ipv4Addr) -> Result<Arc<Host>> {
        let directory = self.subdirectory(name)?;
        Ok(Arc::new(Host::create(name, directory, switch, address, Arc::clone(&self.spawner))?))
    }

    fn subdirectory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory().join(name);
        std::fs::create_dir(&path)
            .map_err(|e| anyhow::anyhow!("cannot make {}: {e}", path.display()))?;
        Ok(path)
    }
}
