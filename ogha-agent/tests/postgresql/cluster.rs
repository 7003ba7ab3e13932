//! A real PostgreSQL server in a temporary directory: a free TCP port on the loopback address, its Unix
//! socket beside its data, gone with all its processes when dropped.

use std::{
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use ogha_agent::database::{
    DatabaseKind, Nodes, Peer, Server,
    pidfile::{self, PidFile},
};
use tempfile::TempDir;

pub struct Cluster {
    dir: TempDir,
    user: User,
    port: u16,
    /// The node's.
    pub name: &'static str,
    /// Where the driver finds its tools, if not where the server is.
    pub bin_dir: Option<PathBuf>,
}

const ACCESS: &str = "local all all peer\nlocal replication all peer\n\
    host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";

impl Cluster {
    /// A running primary, node `n1`, that `pg_rewind` can work on.
    pub fn primary() -> Self {
        Self::primary_with("wal_log_hints = on\n")
    }

    /// A running primary with these settings. Through its socket it lets in whom the kernel knows
    /// as its user.
    pub fn primary_with(settings: &str) -> Self {
        let cluster = Self::empty("n1");
        let user = cluster.user.name.clone();
        cluster.tool("initdb", ["-U", &user, "--auth=trust", "--no-sync"]);
        fs::write(cluster.data().join("pg_hba.conf"), ACCESS).unwrap();
        let own = cluster.own_settings();
        let common = "listen_addresses = '127.0.0.1'\nwal_retrieve_retry_interval = '200ms'\n";
        cluster.append("postgresql.conf", &format!("{common}{settings}{own}"));
        cluster.start();
        cluster
    }

    /// A running standby of this primary that has caught up: node `n2`.
    pub fn standby(&self) -> Self {
        self.standby_called("n2")
    }

    pub fn standby_called(&self, name: &'static str) -> Self {
        self.standby_from("127.0.0.1", name)
    }

    /// A standby that the primary does not see at the address of any peer: it comes through the
    /// Unix socket.
    pub fn stranger_called(&self, name: &'static str) -> Self {
        self.standby_from(self.dir.path().to_str().unwrap(), name)
    }

    fn standby_from(&self, host: &str, name: &'static str) -> Self {
        let standby = Self::empty(name);
        let source = format!("host={host} port={} application_name={name}", self.port);
        let data = standby.data();
        let data = data.to_str().unwrap();
        standby.tool("pg_basebackup", ["-D", data, "-R", "-d", &source, "-c", "fast", "--no-sync"]);
        standby.append("postgresql.conf", &standby.own_settings());
        standby.start();
        let streaming = "select status from pg_stat_wal_receiver";
        eventually("the standby streams", || standby.sql(streaming) == "streaming");
        standby
    }

    fn own_settings(&self) -> String {
        format!("port = {}\nunix_socket_directories = '{}'\n", self.port, self.dir.path().display())
    }

    fn empty(name: &'static str) -> Self {
        let user_name = match (geteuid().is_root(), std::env::var("OGHA_PG_USER")) {
            (_, Ok(name)) => name,
            (true, _) => "postgres".to_owned(),
            (false, _) => User::from_uid(geteuid()).unwrap().unwrap().name,
        };
        let user =
            User::from_name(&user_name).unwrap().expect("PostgreSQL needs a user that is not root");
        let dir = TempDir::with_prefix("ogha-pg-").unwrap();
        if geteuid().is_root() {
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        Self { dir, user, port, name, bin_dir: None }
    }

    /// The nodes of this one and its peers.
    pub fn with<const N: usize>(&self, peers: [&Self; N]) -> Nodes {
        let peer = |peer: &Self| Peer {
            name: peer.name.to_owned(),
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            port: peer.port,
        };
        Nodes { own: self.name.to_owned(), peers: peers.map(peer).into() }
    }

    /// The names beside the data directory that ogha made.
    pub fn beside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".ogha-")).collect()
    }

    /// The directory of PostgreSQL's programs.
    pub fn tools() -> PathBuf {
        bin_dir()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Lets the driver run these scripts in the place of the tools of these names. `@BIN@` in them
    /// is where the tools are.
    pub fn replace_tools<const N: usize>(&mut self, scripts: [(&str, &str); N]) {
        let dir = self.path("bin");
        fs::create_dir_all(&dir).unwrap();
        for entry in fs::read_dir(bin_dir()).unwrap() {
            let entry = entry.unwrap();
            std::os::unix::fs::symlink(entry.path(), dir.join(entry.file_name())).ok();
        }
        for (name, script) in scripts {
            let script = script.replace("@BIN@", bin_dir().to_str().unwrap());
            fs::remove_file(dir.join(name)).unwrap_or_default();
            fs::write(dir.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(dir.join(name), mode).unwrap();
        }
        self.bin_dir = Some(dir);
    }

    /// What the configuration of an agent would say.
    pub fn kind(&self) -> DatabaseKind {
        DatabaseKind::Postgresql(Server {
            port: self.port,
            data_dir: self.data(),
            user: self.user.name.clone(),
            bin_dir: self.bin_dir.clone(),
            socket_dir: None,
            dbname: "postgres".to_owned(),
            unit: None,
        })
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The main process, if it lives.
    pub fn runs(&self) -> Option<u32> {
        let file = PidFile::read(&self.data(), None).unwrap()?;
        pidfile::serves(file.pid, &self.data()).then_some(file.pid)
    }

    pub fn main_pid(&self) -> u32 {
        self.runs().expect("the server runs")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// A client that is connected and waits for its input.
    pub fn idle(&self) -> Child {
        let host = self.dir.path().to_str().unwrap();
        self.quietly("psql", ["-h", host, "-p", &self.port(), "-X", "postgres"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// A client whose backend is at work, and works until it is killed.
    pub fn busy(&self) -> Child {
        let host = self.dir.path().to_str().unwrap();
        let port = self.port();
        let client = ["-h", host, "-p", &port, "-Xc", "select pg_sleep(600)", "postgres"];
        let client = self.quietly("psql", client).spawn().unwrap();
        let asked = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        eventually("a backend sleeps", || self.sql(asked) == "1");
        client
    }

    fn quietly<const N: usize>(&self, name: &str, arguments: [&str; N]) -> Command {
        let mut command = self.prepare(name, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub fn signal(&self, signal: Signal) {
        send(self.main_pid(), signal);
    }

    /// The processes that work in the data directory.
    pub fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| pidfile::is_named_server(*pid) && pidfile::serves(*pid, &self.data()))
            .collect()
    }

    pub fn sql(&self, statement: &str) -> String {
        let host = self.dir.path().to_str().unwrap();
        let port = self.port();
        let output =
            self.command("psql", ["-h", host, "-p", &port, "-XAtc", statement, "postgres"]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A client that runs a statement and ends.
    pub fn client(&self, statement: &str) -> Child {
        let host = self.dir.path().to_str().unwrap();
        let port = self.port();
        let client = ["-h", host, "-p", &port, "-Xc", statement, "postgres"];
        self.quietly("psql", client).spawn().unwrap()
    }

    pub fn port(&self) -> String {
        self.port.to_string()
    }

    /// The process that receives the log.
    pub fn receiver(&self) -> u32 {
        self.sql("select pid from pg_stat_wal_receiver").parse().unwrap()
    }

    pub fn start(&self) {
        let log = self.dir.path().join("log");
        self.tool(
            "pg_ctl",
            [OsStr::new("start"), OsStr::new("-w"), OsStr::new("-l"), log.as_ref()],
        );
    }

    /// What an operator would do who knows of nothing.
    pub fn try_start(&self) -> bool {
        let log = self.dir.path().join("log");
        self.command(
            "pg_ctl",
            [OsStr::new("start"), OsStr::new("-w"), OsStr::new("-l"), log.as_ref()],
        )
        .status
        .success()
    }

    pub fn stop(&self) {
        self.tool("pg_ctl", ["stop", "-w", "-m", "fast"]);
    }

    /// Kills all processes and returns when they have gone, and the main one was buried: a server
    /// that starts next takes its number in a lock file for a living one until then.
    pub fn kill(&self) {
        let main = Pid::from_raw(self.main_pid().try_into().unwrap());
        self.signal(Signal::SIGKILL);
        for pid in self.processes() {
            send(pid, Signal::SIGKILL);
        }
        eventually("the server is dead", || {
            self.processes().is_empty() && kill(main, None) == Err(Errno::ESRCH)
        });
    }

    pub fn restart(&self) {
        self.tool("pg_ctl", ["stop", "-w", "-m", "fast"]);
        self.start();
    }

    pub fn append(&self, file: &str, text: &str) {
        let path = self.data().join(file);
        let old = fs::read_to_string(&path).unwrap();
        fs::write(path, old + text).unwrap();
    }

    fn tool<S: AsRef<OsStr>, const N: usize>(&self, name: &str, arguments: [S; N]) {
        let output = self.command(name, arguments);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command<S: AsRef<OsStr>, const N: usize>(&self, name: &str, arguments: [S; N]) -> Output {
        self.prepare(name, arguments).output().unwrap()
    }

    fn prepare<S: AsRef<OsStr>, const N: usize>(&self, name: &str, arguments: [S; N]) -> Command {
        let mut command = Command::new(bin_dir().join(name));
        command.args(arguments).env("PGDATA", self.data()).current_dir("/");
        if geteuid().is_root() {
            command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw());
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for pid in self.processes() {
            send(pid, Signal::SIGKILL);
        }
    }
}

pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).ok();
}

/// The newest PostgreSQL that is installed, or the one in `OGHA_PG_BIN`.
fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("OGHA_PG_BIN") {
        return dir.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest =
        versions.map(|entry| entry.path().join("bin")).filter(|dir| dir.join("initdb").exists());
    let newest = newest.max_by_key(|dir| version(dir));
    newest
        .expect("these tests need PostgreSQL's server; OGHA_PG_BIN names its directory of programs")
}

fn version(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
