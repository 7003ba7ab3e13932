//! The agent on a host: its files, its process, what it says, and the gate it keeps.

use std::{
    env, fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

pub use super::config::{Kind, Peer, Settings};
use super::{Host, Postgres, config, process::Process};

/// The file of the key.
const KEY: &str = "cluster.key";

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
        vip: Ipv4Addr,
        priority: u8,
        settings: &Settings,
    ) -> Result<Self> {
        let key = database.host().directory().join(KEY);
        let text = config::text(database, &key, peer, vip, priority, settings);
        Self::with_config(database.host(), &text)
    }

    /// Writes this `ogha.toml`, and the key. Starts nothing.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn with_config(host: &Arc<Host>, text: &str) -> Result<Self> {
        let agent = Self { host: Arc::clone(host), process: Mutex::new(None) };
        let key = agent.key_path();
        fs::write(&key, "6f67686120746865206c6162206b6579\n")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        fs::write(agent.config_path(), text)?;
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
        self.host.directory().join(KEY)
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

    /// Rewrites `ogha.toml`: what stands there as `from` becomes `to`.
    ///
    /// # Errors
    /// If `from` is not there.
    pub fn edit_config(&self, from: &str, to: &str) -> Result<()> {
        let text = fs::read_to_string(self.config_path())?;
        ensure!(text.contains(from), "the configuration has no {from:?}");
        Ok(fs::write(self.config_path(), text.replace(from, to))?)
    }

    /// Starts the agent. Does not wait for anything that it does.
    ///
    /// # Errors
    /// If its binary is not built.
    pub fn start(&self) -> Result<()> {
        self.start_by(self.run_command()?)
    }

    /// Starts the agent by that command, made of [`run_command`](Self::run_command).
    ///
    /// # Errors
    /// If the program is not there.
    pub fn start_by(&self, command: Command) -> Result<()> {
        *self.process() = Some(self.host.spawn("agent", command, None)?);
        Ok(())
    }

    /// `ogha-agent run` with this agent's configuration, for who wants to start it differently.
    ///
    /// # Errors
    /// If its binary is not built.
    pub fn run_command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.arg("run").arg("--config").arg(self.config_path());
        // Under a journal the log would carry no time.
        command.env_remove("JOURNAL_STREAM");
        Ok(command)
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

    /// Runs a command on this agent's host that does not talk to the agent.
    ///
    /// # Errors
    /// If the binary is not built. A command that fails is an output, no error.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments);
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
