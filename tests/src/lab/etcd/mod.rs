//! An etcd on hosts of the lab: one member a host.

mod certificates;

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

pub use self::certificates::Certificates;
use super::{Host, process::Process};

/// Where Debian puts it.
const PROGRAM: &str = "/usr/bin/etcd";
const NAME: &str = "etcd";
/// For clients, for the other members, and for who asks whether it is well (never encrypted).
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const HEALTH: u16 = 2381;
/// So often a leader is heard of, and so long its silence is borne with: on a LAN a tenth of
/// what etcd comes with, so that a killed leader costs the tests no second.
const HEARTBEAT: Duration = Duration::from_millis(50);
const ELECTION: Duration = Duration::from_millis(500);
const GENEROUS: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(20);

/// An etcd. Dropping it kills all members; what they wrote stays with their hosts.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    certificates: Option<Certificates>,
}

#[derive(Debug)]
struct Member {
    host: Arc<Host>,
    process: Option<Process>,
}

impl Etcd {
    /// Starts one on these hosts and waits until all members are well.
    ///
    /// # Errors
    /// If it is not installed, or if a member does not become well.
    pub fn start(hosts: &[Arc<Host>]) -> Result<Self> {
        Self::start_with(hosts, None)
    }

    /// The same, whose members speak TLS to clients and ask each for a certificate.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_encrypted(hosts: &[Arc<Host>], certificates: Certificates) -> Result<Self> {
        Self::start_with(hosts, Some(certificates))
    }

    fn start_with(hosts: &[Arc<Host>], certificates: Option<Certificates>) -> Result<Self> {
        let there = Path::new(PROGRAM).is_file();
        ensure!(there, "etcd is not installed: `cargo xtask setup` does it");
        let member = |host: &Arc<Host>| Member { host: Arc::clone(host), process: None };
        let mut etcd = Self { members: hosts.iter().map(member).collect(), certificates };
        for at in 0..hosts.len() {
            etcd.launch(at)?;
        }
        etcd.wait_until_well()?;
        Ok(etcd)
    }

    /// The URLs for clients.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| self.url(member.host.address())).collect()
    }

    fn url(&self, address: Ipv4Addr) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}:{CLIENTS}")
    }

    /// Kills a member by SIGKILL. One that does not run stays so.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        if let Some(process) = self.members[member].process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// Stops a member or lets it go on (SIGSTOP, SIGCONT).
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, member: usize, signal: Signal) -> Result<()> {
        self.members[member].process.as_ref().context("the member does not run")?.signal(signal)
    }

    /// Starts a member that was killed, on what it had written, and does not wait for it.
    ///
    /// # Errors
    /// If the program does not start.
    pub fn launch(&mut self, member: usize) -> Result<()> {
        let command = self.command(member);
        let member = &mut self.members[member];
        member.process = Some(member.host.spawn(NAME, command, None)?);
        Ok(())
    }

    /// Waits until each member that runs says that it is well: that it has a leader.
    ///
    /// # Errors
    /// If one does not within a minute.
    pub fn wait_until_well(&self) -> Result<()> {
        let begin = Instant::now();
        for Member { host, process } in &self.members {
            let Some(process) = process else { continue };
            while !is_well(host) {
                if !process.is_running() || begin.elapsed() > GENEROUS {
                    bail!("etcd is not well on {}: {}", host.name(), host.last_words(NAME));
                }
                thread::sleep(OFTEN);
            }
        }
        Ok(())
    }

    fn command(&self, member: usize) -> Command {
        let host = &self.members[member].host;
        let peer = |host: &Host| format!("http://{}:{PEERS}", host.address());
        let named = |member: &Member| format!("{}={}", member.host.name(), peer(&member.host));
        let cluster: Vec<_> = self.members.iter().map(named).collect();
        let mut command = Command::new(PROGRAM);
        let mut set = |key: &str, value: &str| {
            command.arg(format!("--{key}={value}"));
        };
        set("name", host.name());
        set("data-dir", &data_dir(host).to_string_lossy());
        set("listen-client-urls", &self.url(host.address()));
        set("advertise-client-urls", &self.url(host.address()));
        set("listen-peer-urls", &peer(host));
        set("initial-advertise-peer-urls", &peer(host));
        set("initial-cluster", &cluster.join(","));
        set("listen-metrics-urls", &format!("http://{}:{HEALTH}", Ipv4Addr::LOCALHOST));
        set("heartbeat-interval", &HEARTBEAT.as_millis().to_string());
        set("election-timeout", &ELECTION.as_millis().to_string());
        if let Some(certificates) = &self.certificates {
            set("trusted-ca-file", &certificates.ca().to_string_lossy());
            set("cert-file", &certificates.cert().to_string_lossy());
            set("key-file", &certificates.key().to_string_lossy());
            set("client-cert-auth", "true");
        }
        command
    }
}

fn data_dir(host: &Host) -> PathBuf {
    host.directory().join("etcd")
}

/// `{"health":"true"}`: a read that the leader confirms was answered.
fn is_well(host: &Host) -> bool {
    let ask = || {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), HEALTH);
        let mut stream = TcpStream::connect_timeout(&address, GENEROUS)?;
        stream.set_read_timeout(Some(GENEROUS))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    host.namespace().enter(ask).is_ok_and(|answer| answer.contains("\"true\""))
}
