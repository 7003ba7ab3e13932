//! A real PostgreSQL server in a temporary directory: no TCP port, its Unix socket beside its data,
//! gone with all its processes when dropped.

use std::{
    ffi::OsStr,
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
use ogha_agent::database::{Kind, Server, pidfile};
use tempfile::TempDir;

/// Names the socket only, for nothing listens on TCP.
const PORT: u16 = 5432;

pub struct Cluster {
    dir: TempDir,
    user: User,
}

impl Cluster {
    /// A running primary that lets in whom the kernel knows as its user, and nobody else.
    pub fn primary() -> Self {
        let cluster = Self::empty();
        let user = cluster.user.name.clone();
        cluster.tool("initdb", ["-U", &user, "--auth=peer", "--no-sync"]);
        let settings = format!(
            "port = {PORT}\nlisten_addresses = ''\nunix_socket_directories = '{}'\n",
            cluster.dir.path().display()
        );
        cluster.append("postgresql.conf", &settings);
        cluster.start();
        cluster
    }

    /// A running standby of this primary that has caught up.
    pub fn standby(&self) -> Self {
        let standby = Self::empty();
        let host = self.dir.path().to_str().unwrap();
        let port = PORT.to_string();
        let data = standby.data();
        let data = data.to_str().unwrap();
        standby.tool(
            "pg_basebackup",
            ["-D", data, "-R", "-h", host, "-p", &port, "-c", "fast", "--no-sync"],
        );
        let socket = format!("unix_socket_directories = '{}'\n", standby.dir.path().display());
        standby.append("postgresql.auto.conf", &socket);
        standby.start();
        let streaming = "select count(*) from pg_stat_replication where state = 'streaming'";
        eventually("the standby streams", || self.sql(streaming) == "1");
        standby
    }

    fn empty() -> Self {
        let name = match (geteuid().is_root(), std::env::var("OGHA_PG_USER")) {
            (_, Ok(name)) => name,
            (true, _) => "postgres".to_owned(),
            (false, _) => User::from_uid(geteuid()).unwrap().unwrap().name,
        };
        let user =
            User::from_name(&name).unwrap().expect("PostgreSQL needs a user that is not root");
        let dir = TempDir::with_prefix("ogha-pg-").unwrap();
        if geteuid().is_root() {
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        Self { dir, user }
    }

    /// What the configuration of an agent would say.
    pub fn kind(&self) -> Kind {
        Kind::Postgresql(Server {
            port: PORT,
            data_dir: self.data(),
            user: self.user.name.clone(),
            bin_dir: None,
            socket_dir: None,
            dbname: "postgres".to_owned(),
        })
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The main process, if it lives.
    pub fn runs(&self) -> Option<u32> {
        pidfile::main_pid(&self.data()).unwrap()
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
        self.quietly("psql", ["-h", host, "-X", "postgres"]).stdin(Stdio::piped()).spawn().unwrap()
    }

    /// A client whose backend is at work, and works until it is killed.
    pub fn busy(&self) -> Child {
        let host = self.dir.path().to_str().unwrap();
        let client = ["-h", host, "-Xc", "select pg_sleep(600)", "postgres"];
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
        let output = self.command("psql", ["-h", host, "-XAtc", statement, "postgres"]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn start(&self) {
        let log = self.dir.path().join("log");
        self.tool(
            "pg_ctl",
            [OsStr::new("start"), OsStr::new("-w"), OsStr::new("-l"), log.as_ref()],
        );
    }

    pub fn restart(&self) {
        self.tool("pg_ctl", ["stop", "-w", "-m", "fast"]);
        self.start();
    }

    fn append(&self, file: &str, text: &str) {
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

fn send(pid: u32, signal: Signal) {
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
