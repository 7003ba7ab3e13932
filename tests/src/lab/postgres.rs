//! A real PostgreSQL on a host, as an operator would run it behind a VIP.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{sys::signal::Signal, unistd::User};

use super::{
    Host, clock,
    process::{self, Process},
    sql::Session,
    template::{Template, USER},
};

/// Where Debian puts PostgreSQL 15's programs.
pub const BIN: &str = "/usr/lib/postgresql/15/bin";

/// The port of every database of the lab: openGauss's usual one.
pub const PORT: u16 = 26000;

const GENEROUS: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(5);

/// A database cluster on a host, and its server while that runs.
#[derive(Debug)]
pub struct Postgres {
    host: Arc<Host>,
    server: Mutex<Option<Process>>,
}

impl Postgres {
    /// A primary that acknowledges a write only when a standby has it too. Not started yet.
    ///
    /// # Errors
    /// If the cluster cannot be made.
    pub fn primary(host: &Arc<Host>, template: &Template) -> Result<Self> {
        Self::create(host, template, "synchronous_standby_names = '*'\n")
    }

    /// A standby of the primary at that address. It waits for no standby when promoted. Not
    /// started yet.
    ///
    /// # Errors
    /// If the cluster cannot be made.
    pub fn standby(host: &Arc<Host>, template: &Template, primary: Ipv4Addr) -> Result<Self> {
        let name = host.name();
        let settings = format!(
            "primary_conninfo = 'host={primary} port={PORT} user={USER} application_name={name}'\n"
        );
        let standby = Self::create(host, template, &settings)?;
        // The server opens it to write.
        let signal = standby.data_dir().join("standby.signal");
        fs::write(&signal, "")?;
        give_to_the_database(&signal)?;
        Ok(standby)
    }

    fn create(host: &Arc<Host>, template: &Template, settings: &str) -> Result<Self> {
        let database = Self { host: Arc::clone(host), server: Mutex::new(None) };
        let sockets = database.socket_dir();
        fs::create_dir_all(&sockets)?;
        give_to_the_database(&sockets)?;
        template.copy(&database.data_dir())?;
        let mut text = common_settings(&sockets);
        text.push_str(settings);
        fs::write(database.data_dir().join("postgresql.conf"), text)?;
        fs::write(database.data_dir().join("pg_hba.conf"), ACCESS)?;
        Ok(database)
    }

    /// The host it runs on.
    #[must_use]
    pub const fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// `PGDATA`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.host.directory().join("data")
    }

    /// The directory of its Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> PathBuf {
        self.host.directory().join("socket")
    }

    /// Starts the server and waits until it answers SQL.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(&self) -> Result<()> {
        let mut command = Command::new(Path::new(BIN).join("postgres"));
        command.arg("-D").arg(self.data_dir());
        let server = self.host.spawn("postgres", command, Some(USER))?;
        let started = clock::wait_until("the database to answer", GENEROUS, OFTEN, || {
            // To wait for the dead is vain: that is an answer too.
            if server.is_running() { self.session().map(|_| Some(true)) } else { Ok(Some(false)) }
        });
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        started
            .and_then(|runs| if runs { Ok(()) } else { bail!("the server has ended") })
            .with_context(|| self.host.last_words("postgres"))
    }

    /// A session through the Unix socket, as an operator on the host would open it.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn session(&self) -> Result<Session> {
        Session::open(&self.socket_dir(), PORT)
    }

    /// True on a standby; false on what takes writes.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn is_in_recovery(&self) -> Result<bool> {
        Ok(self.session()?.value("select pg_is_in_recovery()")? == "t")
    }

    /// The server's main process (the postmaster), whoever started it.
    ///
    /// # Errors
    /// If it does not run.
    pub fn main_pid(&self) -> Result<i32> {
        let file = self.data_dir().join("postmaster.pid");
        let text = fs::read_to_string(&file)
            .with_context(|| format!("no database runs on {}", self.host.name()))?;
        text.lines().next().and_then(|line| line.parse().ok()).context("postmaster.pid is empty")
    }

    /// `kill -9` of the main process, and of nothing else.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&self) -> Result<()> {
        self.signal(self.main_pid()?, Signal::SIGKILL)
    }

    /// Stops or continues the process that receives the log.
    ///
    /// # Errors
    /// If there is none.
    pub fn signal_receiver(&self, signal: Signal) -> Result<()> {
        let pid = self.session()?.value("select pid from pg_stat_wal_receiver")?;
        self.signal(pid.parse().context("nobody receives")?, signal)
    }

    /// Stops every process of the server: it hangs, and its port still listens.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal_tree(Signal::SIGSTOP)
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal_tree(Signal::SIGCONT)
    }

    /// Shuts the server down, sessions included (PostgreSQL's "fast" mode), and waits.
    ///
    /// # Errors
    /// If it does not run or does not end.
    pub fn stop(&self) -> Result<()> {
        let pid = self.main_pid()?;
        self.signal(pid, Signal::SIGINT)?;
        let inode = self.host.namespace().inode()?;
        clock::wait_until("the database to stop", GENEROUS, OFTEN, || {
            Ok((!process::all_in(inode).contains(&pid)).then_some(()))
        })
    }

    fn signal(&self, pid: i32, signal: Signal) -> Result<()> {
        let found = process::signal_one_in(self.host.namespace().inode()?, pid, signal)?;
        ensure!(found, "process {pid} does not run on {}", self.host.name());
        Ok(())
    }

    /// Its processes, the main process first.
    ///
    /// # Errors
    /// If it does not run.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let main = self.main_pid()?;
        let all = process::all_in(self.host.namespace().inode()?);
        let others = all.into_iter().filter(|pid| process::parent(*pid) == Some(main));
        Ok([main].into_iter().chain(others).collect())
    }

    /// Adds a line to `postgresql.conf`, for the next start.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = self.data_dir().join("postgresql.conf");
        let mut file = fs::File::options().append(true).open(path)?;
        Ok(std::io::Write::write_all(&mut file, format!("{key} = '{value}'\n").as_bytes())?)
    }

    /// The main process first, so that it starts no others.
    fn signal_tree(&self, signal: Signal) -> Result<()> {
        let main = self.main_pid()?;
        self.signal(main, signal)?;
        let inode = self.host.namespace().inode()?;
        for pid in process::all_in(inode) {
            if process::parent(pid) == Some(main) {
                process::signal_one_in(inode, pid, signal)?;
            }
        }
        Ok(())
    }

    /// Waits until `standby` streams from this primary and no write is acknowledged without it.
    ///
    /// # Errors
    /// If that does not come within a minute.
    pub fn wait_for_standby(&self, standby: &str) -> Result<()> {
        let session = self.session()?;
        let query = format!(
            "select count(*) from pg_stat_replication where application_name = '{standby}' \
             and state = 'streaming' and sync_state = 'sync'"
        );
        clock::wait_until("the standby to be in sync", GENEROUS, OFTEN, || {
            Ok((session.value(&query)? == "1").then_some(()))
        })
    }
}

pub(super) fn give_to_the_database(path: &Path) -> Result<()> {
    let user = User::from_name(USER)?.with_context(|| format!("there is no user {USER}"))?;
    Ok(chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?)
}

const ACCESS: &str = "\
local all all trust
host all all 127.0.0.1/32 trust
host all all 192.0.2.0/24 trust
host all all fd00:59::/64 trust
host replication all 192.0.2.0/24 trust
host replication all fd00:59::/64 trust
";

/// PostgreSQL's defaults but for size, place and the patience of a standby that lost its
/// primary. `fsync` stays on: what it costs at a promotion is part of the truth.
fn common_settings(sockets: &Path) -> String {
    let mut text = format!("port = {PORT}\nunix_socket_directories = '{}'\n", sockets.display());
    for (key, value) in [
        ("listen_addresses", "*"),
        ("shared_buffers", "32MB"),
        ("wal_log_hints", "on"),
        ("wal_keep_size", "256MB"),
        ("hot_standby", "on"),
        ("wal_retrieve_retry_interval", "10ms"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] "),
    ] {
        let _ = writeln!(text, "{key} = '{value}'");
    }
    text
}
