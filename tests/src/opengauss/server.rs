//! The PostgreSQL server beneath a simulated node.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ogha_agent::database::pidfile::{self, PidFile};
use tokio::{
    runtime::{self, Runtime},
    time::timeout,
};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::{
    node::{Node, Peer},
    state::State,
};

/// How long gs_ctl waits for a connection.
pub const CONNECT: Duration = Duration::from_secs(5);

/// Rows as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// What `postmaster.pid` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// There is no file.
    Nothing,
    /// Its process lives.
    Alive(u32),
    /// Its process does not.
    Dead(u32),
}

impl Node {
    /// The data directory of this node.
    pub(super) fn data_dir(&self) -> &Path {
        &self.here().data_dir
    }

    /// The server's process, as recorded.
    pub(super) fn recorded(&self) -> Recorded {
        match PidFile::read(self.data_dir(), None).ok().flatten() {
            None => Recorded::Nothing,
            Some(file) if pidfile::serves(file.pid, self.data_dir()) => Recorded::Alive(file.pid),
            Some(file) => Recorded::Dead(file.pid),
        }
    }

    /// Asks this node's server.
    pub(super) fn ask(&self, statement: &str, within: Duration) -> Result<Rows> {
        self.connect(within)?.ask(statement, within)
    }

    /// Connects to this node's server.
    pub(super) fn connect(&self, within: Duration) -> Result<Session> {
        let mut config = self.login();
        config.host_path(&self.here().socket_dir).port(self.here().port);
        Session::open(&config, within)
    }

    /// Asks another node's server, through its address if it has one.
    pub(super) fn ask_peer(&self, peer: &Peer, statement: &str, within: Duration) -> Result<Rows> {
        let mut config = self.login();
        config.port(peer.port);
        if peer.address.is_empty() {
            config.host_path(&peer.socket_dir);
        } else {
            config.host(&peer.address);
        }
        Session::open(&config, within)?.ask(statement, within)
    }

    fn login(&self) -> Config {
        let mut config = Config::new();
        config.user(&self.user).dbname("postgres").application_name("gs_ctl");
        config
    }

    /// The role by SQL.
    pub(super) fn live_role(&self) -> Result<String> {
        let statement = "select local_role from pg_stat_get_stream_replications()";
        let rows = self.ask(statement, CONNECT)?;
        rows.into_iter().flatten().flatten().next().context("no role")
    }

    /// A program of PostgreSQL.
    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.pg_bin.join(name));
        command.current_dir("/");
        command
    }

    /// Writes the state file; the number of peers is the cluster's.
    pub(super) fn record(&self, role: &str, db_state: &str) -> Result<()> {
        State::new(role, db_state, self.nodes.len() - 1).write(self.data_dir())
    }

    /// Writes `postmaster.opts` as openGauss has it, where the mode of the last start is read again.
    pub(super) fn record_mode(&self, mode: Option<&str>) -> Result<()> {
        let program = self.bin_dir.join("gaussdb");
        let (program, dir) = (program.display(), self.data_dir().display());
        let mode = mode.map_or(String::new(), |mode| format!(" \"-M\" \"{mode}\""));
        let text = format!("{program} \"-D\" \"{dir}\"{mode}\n");
        fs::write(self.data_dir().join("postmaster.opts"), text).context("postmaster.opts")
    }

    /// The mode that `postmaster.opts` records.
    pub(super) fn recorded_mode(&self) -> Option<String> {
        let text = fs::read_to_string(self.data_dir().join("postmaster.opts")).ok()?;
        let (_, mode) = text.split_once("\"-M\" \"")?;
        Some(mode.split('"').next()?.to_owned())
    }

    /// Asks the server to promote itself. PostgreSQL looks for a file named `promote`; it gets a
    /// link to openGauss's, so that the promotion is off when somebody removes that one.
    pub(super) fn trigger_failover(&self, pid: u32) -> Result<(), Errno> {
        let (failover, promote) = (self.trigger(), self.data_dir().join("promote"));
        let created = fs::File::create(&failover).and_then(|_| {
            fs::remove_file(&promote).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            symlink("failover", &promote)
        });
        created.map_err(|_| Errno::EIO)?;
        send(pid, Signal::SIGUSR1)
    }

    /// The file that asks for a promotion.
    pub(super) fn trigger(&self) -> PathBuf {
        self.data_dir().join("failover")
    }

    /// The server's log.
    pub(super) fn log(&self) -> PathBuf {
        self.data_dir().join("gaussdb.log")
    }
}

/// `pg_controldata`, which is PostgreSQL's; openGauss's has the same lines among others.
#[must_use]
pub fn control_data(node: &Node, arguments: &[String]) -> u8 {
    let status = node.program("pg_controldata").args(arguments).status();
    status.ok().and_then(|status| u8::try_from(status.code()?).ok()).unwrap_or(1)
}

/// Signals a process.
pub fn send(pid: u32, signal: Signal) -> Result<(), Errno> {
    kill(Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::ESRCH)?), signal)
}

/// A connection that may be asked more than once.
pub struct Session {
    runtime: Runtime,
    client: Client,
}

impl Session {
    fn open(config: &Config, within: Duration) -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let connected = runtime.block_on(async {
            let connecting = timeout(within, config.connect(NoTls)).await;
            let (client, connection) = connecting.map_err(|_| expired(within))?.map_err(words)?;
            tokio::spawn(connection);
            anyhow::Ok(client)
        });
        connected.map(|client| Self { runtime, client })
    }

    /// Asks.
    pub fn ask(&self, statement: &str, within: Duration) -> Result<Rows> {
        let answer = async { timeout(within, self.client.simple_query(statement)).await };
        let answer = self.runtime.block_on(answer).map_err(|_| expired(within))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        };
        Ok(answer.map_err(words)?.into_iter().filter_map(row).collect())
    }
}

fn expired(within: Duration) -> anyhow::Error {
    anyhow::anyhow!("timeout expired after {} s", within.as_secs())
}

fn words(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(db) => anyhow::anyhow!("{}:  {}", db.severity(), db.message()),
        None => anyhow::Error::new(error).context("could not connect to server"),
    }
}
