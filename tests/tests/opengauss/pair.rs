//! A primary and its standby behind openGauss's simulated tools, without a lab: they meet through
//! their Unix sockets, so no root and no network is needed.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use ogha_agent::database::{
    self, Nodes, Server,
    opengauss::Opengauss,
    pidfile::{self, PidFile},
};
use ogha_tests::{
    lab::postgres::BIN,
    opengauss::{Faults, Node, Peer, Started},
};
use tempfile::TempDir;

pub struct Pair {
    pub primary: Host,
    pub standby: Host,
    /// Last, for the servers work in it.
    _dir: TempDir,
}

pub struct Host {
    node: Node,
    user: User,
}

impl Pair {
    /// Running, the standby streaming.
    pub fn start() -> Self {
        let name = if geteuid().is_root() { "postgres".to_owned() } else { own_name() };
        let user = User::from_name(&name).unwrap().expect("PostgreSQL's user");
        let dir = TempDir::with_prefix("ogha-og-").unwrap();
        give(dir.path(), &user);
        let peer = |name: &str, started| {
            let home = dir.path().join(name);
            fs::create_dir_all(home.join("data")).unwrap();
            fs::set_permissions(
                home.join("data"),
                std::os::unix::fs::PermissionsExt::from_mode(0o700),
            )
            .unwrap();
            give(&home, &user);
            give(&home.join("data"), &user);
            Peer {
                name: name.to_owned(),
                address: String::new(),
                port: 26000,
                data_dir: home.join("data"),
                socket_dir: home,
                started,
            }
        };
        let nodes = vec![peer("n1", Started::Primary), peer("n2", Started::Standby)];
        let host = |this: usize| {
            let node = Node {
                nodes: nodes.clone(),
                this,
                bin_dir: dir.path().join(format!("bin{this}")),
                pg_bin: BIN.into(),
                user: name.clone(),
            };
            node.install(Path::new(env!("CARGO_BIN_EXE_opengauss-sim"))).unwrap();
            node.set_faults(&quick()).unwrap();
            Host { node, user: user.clone() }
        };
        let (primary, standby) = (host(0), host(1));
        primary.initdb();
        primary.ok("gs_ctl", &["start", "-M", "primary"]);
        standby.ok("gs_ctl", &["build", "-b", "full"]);
        let pair = Self { primary, standby, _dir: dir };
        let streaming = "select count(*) from pg_stat_get_wal_senders() where state = 'Streaming'";
        eventually("the standby streams", || pair.primary.gsql(streaming) == "1");
        pair
    }
}

/// The tools' second is short where the test is not about it.
pub fn quick() -> Faults {
    Faults { tick_ms: 50, ..Faults::default() }
}

impl Host {
    pub async fn driver(&self) -> Opengauss {
        let server = Server {
            port: self.node.here().port,
            data_dir: self.data(),
            user: self.user.name.clone(),
            bin_dir: Some(self.node.bin_dir.clone()),
            socket_dir: None,
            dbname: "postgres".to_owned(),
            unit: None,
        };
        let known = |peer: &Peer| database::Peer {
            name: peer.name.clone(),
            addresses: Vec::new(),
            port: peer.port,
        };
        let peers = self.node.nodes.iter().filter(|peer| peer.name != self.node.here().name);
        let nodes = Nodes { own: self.node.here().name.clone(), peers: peers.map(known).collect() };
        Opengauss::open(&server, nodes).await.unwrap()
    }

    pub fn data(&self) -> PathBuf {
        self.node.here().data_dir.clone()
    }

    /// The names beside the data directory that ogha made.
    pub fn beside(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.node.here().socket_dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".ogha-")).collect()
    }

    /// A client that runs a statement and ends.
    pub fn client(&self, statement: &str) -> Child {
        let mut command = self.prepare(&self.node.bin_dir.join("gsql"));
        command.args(["-d", "postgres", "-p", "26000", "-c", statement]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn set_faults(&self, faults: &Faults) {
        self.node.set_faults(faults).unwrap();
    }

    pub fn runs(&self) -> Option<u32> {
        let file = PidFile::read(&self.data(), None).unwrap()?;
        pidfile::serves(file.pid, &self.data()).then_some(file.pid)
    }

    /// Signals the main process.
    pub fn signal(&self, signal: Signal) {
        send(self.runs().expect("the server runs"), signal);
    }

    /// Kills the main process, and returns when it has gone and was buried: a server that starts
    /// next takes its number in a lock file for a living one until then.
    pub fn kill(&self) {
        let pid = self.runs().expect("the server runs");
        send(pid, Signal::SIGKILL);
        let raw = i32::try_from(pid).expect("the kernel's process numbers fit");
        eventually("the server is dead", || {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(raw), None)
                == Err(nix::errno::Errno::ESRCH)
        });
    }

    /// A tool's exit code and output, called on the data directory where it wants one.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> (i32, String) {
        let mut command = self.prepare(&self.node.bin_dir.join(name));
        command.args(arguments);
        if name == "gs_ctl" {
            command.arg("-D").arg(self.data());
        }
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.code().unwrap(), text)
    }

    pub fn ok(&self, name: &str, arguments: &[&str]) {
        let (code, text) = self.tool(name, arguments);
        assert_eq!(code, 0, "{name} {arguments:?}: {text}");
    }

    pub fn gsql(&self, statement: &str) -> String {
        let (_, text) =
            self.tool("gsql", &["-d", "postgres", "-p", "26000", "-t", "-A", "-c", statement]);
        text.trim().to_owned()
    }

    fn initdb(&self) {
        let mut command = self.prepare(&Path::new(BIN).join("initdb"));
        command.args(["-U", &self.user.name, "--auth=trust", "--no-sync", "-D"]).arg(self.data());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn prepare(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if geteuid().is_root() {
            command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw());
        }
        command
    }
}

impl Drop for Host {
    /// Kills every process of the server.
    fn drop(&mut self) {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids.filter(|pid| pidfile::is_named_server(*pid)) {
            if pidfile::serves(pid, &self.data()) {
                send(pid, Signal::SIGKILL);
            }
        }
    }
}

fn own_name() -> String {
    User::from_uid(geteuid()).unwrap().unwrap().name
}

fn give(path: &Path, user: &User) {
    if geteuid().is_root() {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

fn send(pid: u32, signal: Signal) {
    // It may have ended just now.
    let _ = kill(Pid::from_raw(pid.try_into().unwrap()), signal);
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
