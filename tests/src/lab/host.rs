//! A host: a namespace with an interface, directories, and processes.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CloneFlags, setns},
    sys::{prctl, signal::Signal},
    unistd::{User, setgid, setgroups, setuid},
};

use super::{
    Link, Namespace, Switch, bpffs, directory, link, netlink,
    process::{self, Process},
    spawner::Spawner,
};

/// The interface of every host that is plugged into its switch.
pub const INTERFACE: &str = "eth0";

/// A host. Processes started on it see its network and nobody else's.
#[derive(Debug)]
pub struct Host {
    name: String,
    address: Ipv4Addr,
    directory: PathBuf,
    namespace: Namespace,
    link: Link,
    powered: AtomicBool,
    spawner: Arc<Spawner>,
}

impl Host {
    pub(super) fn create(
        name: &str,
        directory: PathBuf,
        switch: &Arc<Switch>,
        address: Ipv4Addr,
        spawner: Arc<Spawner>,
    ) -> Result<Self> {
        let namespace = Namespace::create(&directory.join(directory::NAMESPACE))?;
        let link = Link::plug(switch, name, &namespace, INTERFACE, address)?;
        bpffs::mount_at(&directory.join("bpf"))?;
        for name in ["state", "run", "log"] {
            fs::create_dir(directory.join(name))?;
        }
        let powered = AtomicBool::new(true);
        Ok(Self { name: name.into(), address, directory, namespace, link, powered, spawner })
    }

    /// Its name, also the name of its port at the switch.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own address, on [`INTERFACE`], in a /24.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its own IPv6 address, on [`INTERFACE`], in a /64.
    #[must_use]
    pub const fn ipv6(&self) -> Ipv6Addr {
        link::ipv6_of(self.address)
    }

    /// Its own address of the family of `other`.
    #[must_use]
    pub const fn address_like(&self, other: IpAddr) -> IpAddr {
        match other {
            IpAddr::V4(_) => IpAddr::V4(self.address()),
            IpAddr::V6(_) => IpAddr::V6(self.ipv6()),
        }
    }

    /// The MAC of [`INTERFACE`].
    #[must_use]
    pub const fn mac(&self) -> [u8; 6] {
        link::mac_of(self.address)
    }

    /// Its network namespace.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its cable to the switch.
    #[must_use]
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Plugs another interface of this host into a switch, of that address in a /24. Its cable is not
    /// cut by [`power_off`](Self::power_off).
    ///
    /// # Errors
    /// If the kernel refuses, as it does where the names are too long for an interface's.
    pub fn plug(&self, switch: &Arc<Switch>, interface: &str, address: Ipv4Addr) -> Result<Link> {
        let port = format!("{}-{interface}", self.name);
        Link::plug(switch, &port, &self.namespace, interface, address)
    }

    /// Where all its files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The agent's `state_dir`.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The agent's `run_dir`.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// The agent's `bpf_dir`: a directory that does not exist yet in the host's BPF file system.
    #[must_use]
    pub fn bpf_dir(&self) -> PathBuf {
        self.directory.join("bpf/ogha")
    }

    /// What the process called `name` has written.
    #[must_use]
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.directory.join("log").join(format!("{name}.log"))
    }

    /// The end of that log, for the message of what failed.
    #[must_use]
    pub fn last_words(&self, name: &str) -> String {
        let log = fs::read_to_string(self.log_path(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(20)..];
        format!("{name} on {} last said:\n{}\n", self.name, last.join("\n"))
    }

    /// The addresses of [`INTERFACE`].
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        netlink::addresses(&self.namespace, INTERFACE)
    }

    /// Starts a process in this host's namespace, in a process group of its own, its output
    /// appended to [`log_path`](Self::log_path). `user`: whose process it is, root's if `None`.
    /// It dies with the lab.
    ///
    /// # Errors
    /// If there is no such user or program.
    pub fn spawn(&self, name: &str, command: Command, user: Option<&str>) -> Result<Process> {
        let log = File::options().create(true).append(true).open(self.log_path(name))?;
        let mut command = self.prepare(command, user)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let program = command.get_program().to_owned();
        let child = self
            .spawner
            .run(move || command.spawn())
            .with_context(|| format!("cannot start {} on {}", program.display(), self.name))?;
        Process::new(&format!("{name} on {}", self.name), child)
    }

    /// Runs a command in this host's namespace to its end.
    ///
    /// # Errors
    /// If there is no such user or program. A command that fails is an output, no error.
    pub fn output(&self, command: Command, user: Option<&str>) -> Result<std::process::Output> {
        let mut command = self.prepare(command, user)?;
        command.stdin(Stdio::null()).output().with_context(|| {
            format!("cannot run {} on {}", command.get_program().display(), self.name)
        })
    }

    fn prepare(&self, mut command: Command, user: Option<&str>) -> Result<Command> {
        let namespace = self.namespace.try_clone_file()?;
        let user = match user {
            Some(name) => {
                Some(User::from_name(name)?.with_context(|| format!("there is no user {name}"))?)
            }
            None => None,
        };
        let enter = move || -> io::Result<()> {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            if let Some(user) = &user {
                setgroups(&[user.gid])?;
                setgid(user.gid)?;
                setuid(user.uid)?;
            }
            // After it, for a change of the user clears it.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        command.current_dir(&self.directory).env("LC_ALL", "C.UTF-8");
        // SAFETY: between fork and exec it makes system calls only, and neither allocates nor
        // takes a lock.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Sends a signal to every process on this host.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        process::signal_all_in(self.namespace.inode()?, signal)
    }

    /// False between [`power_off`](Self::power_off) and [`power_on`](Self::power_on).
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.powered.load(Ordering::SeqCst)
    }

    /// What the network sees when the power fails: silence at once. Then everything here is
    /// killed, and what only the kernel held (BPF programs, added addresses) is lost. What is on
    /// the disk stays.
    ///
    /// # Errors
    /// If something goes on living.
    pub fn power_off(&self) -> Result<()> {
        self.link.cut()?;
        self.powered.store(false, Ordering::SeqCst);
        process::kill_all_in(self.namespace.inode()?)?;
        bpffs::clear(&self.directory.join("bpf"))?;
        let own = [self.address().into(), self.ipv6().into()];
        netlink::remove_addresses_but(&self.namespace, INTERFACE, &own)
    }

    /// The host boots, with nothing started.
    ///
    /// # Errors
    /// If the link cannot be plugged in again.
    pub fn power_on(&self) -> Result<()> {
        self.link.restore()?;
        self.powered.store(true, Ordering::SeqCst);
        Ok(())
    }
}
