//! The agent on a host: its files, its process, what it says, and the gate it keeps.

use std::{
    env,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Host, Postgres,
    host::INTERFACE,
    postgres::{BIN, PORT},
    process::Process,
    template::USER,
};

/// Whose tools stand in front of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL's own.
    #[default]
    Postgresql,
    /// openGauss's, simulated.
    Opengauss,
}

impl Kind {
    /// As `[instance.database] kind` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Opengauss => "opengauss",
        }
    }
}

/// What a scenario may choose in `ogha.toml`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `kind` of the database.
    pub kind: Kind,
    /// Of the VRRP adverts.
    pub advert_interval: Duration,
    /// Of the gate.
    pub lease: Duration,
    /// How long an agent may be silent to its kernel.
    pub agent_timeout: Duration,
    /// Real-time priority for the agent.
    pub realtime: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Postgresql,
            advert_interval: Duration::from_millis(10),
            lease: Duration::from_millis(100),
            agent_timeout: Duration::from_secs(1),
            realtime: true,
        }
    }
}

/// The other node, as `[[instance.peer]]` has it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: std::net::Ipv4Addr,
}

/// An agent on a host, running or not.
#[derive(Debug)]
pub struct Agent {
    host: Arc<Host>,
    process: Mutex<Option<Process>>,
}

impl Agent {
    /// Writes `ogha.toml` and the key. Starts nothing.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn configure(
        database: &Postgres,
        peer: &Peer,
        vip: std::net::Ipv4Addr,
        priority: u8,
        settings: &Settings,
    ) -> Result<Self> {
        let host = Arc::clone(database.host());
        let agent = Self { host, process: Mutex::new(None) };
        let key = agent.key_path();
        fs::write(&key, "6f67686120746865206c6162206b6579\n")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        fs::write(agent.config_path(), agent.config(database, peer, vip, priority, settings))?;
        Ok(agent)
    }

    /// `ogha.toml`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.host.directory().join("ogha.toml")
    }

    /// `cluster.key`.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        self.host.directory().join("cluster.key")
    }

    /// The control socket.
    #[must_use]
    pub fn socket_path(&self) -> PathBuf {
        self.host.run_dir().join("agent.sock")
    }

    /// The host it is for.
    #[must_use]
    pub const fn host(&self) -> &Arc<Host> {
        &self.host
    }

    fn config(
        &self,
        database: &Postgres,
        peer: &Peer,
        vip: std::net::Ipv4Addr,
        priority: u8,
        settings: &Settings,
    ) -> String {
        let host = &self.host;
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}{}{value}", if value.is_empty() { "" } else { " = " });
        };
        let quoted = |text: &dyn std::fmt::Display| format!("\"{text}\"");
        let millis = |time: Duration| format!("\"{}ms\"", time.as_millis());
        line("[node]", "");
        line("name", &quoted(&host.name()));
        line("state_dir", &quoted(&host.state_dir().display()));
        line("run_dir", &quoted(&host.run_dir().display()));
        line("bpf_dir", &quoted(&host.bpf_dir().display()));
        line("realtime", &settings.realtime.to_string());
        line("\n[[instance]]", "");
        line("name", "\"VI_1\"");
        line("interface", &quoted(&INTERFACE));
        line("virtual_router_id", "59");
        line("priority", &priority.to_string());
        line("virtual_addresses", &format!("[\"{vip}/32\"]"));
        line("\n[instance.vrrp]", "");
        line("advert_interval", &millis(settings.advert_interval));
        line("\n[[instance.peer]]", "");
        line("name", &quoted(&peer.name));
        line("address", &quoted(&peer.address));
        line("\n[instance.liveness]", "");
        line("lease", &millis(settings.lease));
        line("agent_timeout", &millis(settings.agent_timeout));
        line("key_file", &quoted(&self.key_path().display()));
        line("\n[instance.database]", "");
        line("kind", &quoted(&settings.kind.name()));
        line("port", &PORT.to_string());
        line("data_dir", &quoted(&database.data_dir().display()));
        line("user", &quoted(&USER));
        line("bin_dir", &quoted(&BIN));
        line("socket_dir", &quoted(&database.socket_dir().display()));
        line("\n[instance.arbiter]", "");
        line("kind", "\"none\"");
        text
    }

    /// Starts the agent. Does not wait for anything that it does.
    ///
    /// # Errors
    /// If its binary is not built.
    pub fn start(&self) -> Result<()> {
        let mut command = Command::new(binary()?);
        command.arg("run").arg("--config").arg(self.config_path());
        let process = self.host.spawn("agent", command, None)?;
        *self.process() = Some(process);
        Ok(())
    }

    /// Sends the agent a signal: SIGKILL, SIGSTOP, SIGCONT, SIGTERM.
    ///
    /// # Errors
    /// If it was not started.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process().as_ref().context("the agent was not started")?.signal(signal)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// If it was not started.
    pub fn kill(&self) -> Result<()> {
        self.process().take().context("the agent was not started")?.kill().map(drop)
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// If it was not started, or does not end within 30 seconds.
    pub fn stop(&self) -> Result<()> {
        let process = self.process().take().context("the agent was not started")?;
        process.signal(Signal::SIGTERM)?;
        let ended = process.wait(Duration::from_secs(30));
        ended.map(drop).context("the agent does not end at SIGTERM")
    }

    /// Its process id; `None` if it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.process().as_ref().filter(|process| process.is_running()).map(Process::pid)
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `ogha-agent status --json` prints.
    ///
    /// # Errors
    /// If the agent does not answer.
    pub fn status(&self) -> Result<Value> {
        self.ask("status")
    }

    /// The first instance of [`status`](Self::status).
    ///
    /// # Errors
    /// If the agent does not answer.
    pub fn instance(&self) -> Result<Value> {
        Ok(self.status()?["instances"][0].clone())
    }

    /// What `ogha-agent history --json` prints.
    ///
    /// # Errors
    /// If the agent does not answer.
    pub fn history(&self) -> Result<Value> {
        self.ask("history")
    }

    fn ask(&self, what: &str) -> Result<Value> {
        let output = self.command(&[what, "--json"])?;
        if !output.status.success() {
            bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{what} is not JSON"))
    }

    /// Runs a command that talks to this agent.
    ///
    /// # Errors
    /// If the binary is not built. A command that fails is an output, no error.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments).arg("--socket").arg(self.socket_path());
        self.host.output(command, None)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.host.log_path("agent")).unwrap_or_default()
    }
}

/// The agent's binary: `OGHA_AGENT`, or beside the running program as cargo puts them.
///
/// # Errors
/// If it is in neither place.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("OGHA_AGENT") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "OGHA_AGENT is {}, and there is no such file", path.display());
        return Ok(path);
    }
    let own = env::current_exe()?;
    let beside = own.ancestors().skip(1).take(2).map(|directory| directory.join("ogha-agent"));
    let found = beside.into_iter().find(|path: &PathBuf| Path::is_file(path));
    found.context("ogha-agent is not built: run `cargo build -p ogha-agent`, or set OGHA_AGENT")
}
