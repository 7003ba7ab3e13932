//! A server's installation on this host: its user, its files, its tools.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;

use super::{
    Server, files, layout,
    login::Login,
    pidfile::{self, Life, PidFile},
    process::{Listener, Tool, ToolOutcome},
};
use crate::guest::as_owner;

/// A tool's name and all that it may be given.
#[derive(Debug)]
pub struct Call {
    name: &'static str,
    arguments: Vec<OsString>,
    secrets: Vec<(OsString, OsString)>,
    listener: Option<Listener>,
    deadline: Duration,
}

impl Call {
    /// A tool without arguments.
    #[must_use]
    pub const fn new(name: &'static str, deadline: Duration) -> Self {
        Self { name, arguments: Vec::new(), secrets: Vec::new(), listener: None, deadline }
    }

    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets variables of its environment.
    #[must_use]
    pub fn secrets(mut self, secrets: Vec<(OsString, OsString)>) -> Self {
        self.secrets = secrets;
        self
    }

    /// Has its output heard.
    #[must_use]
    pub fn heard_by(mut self, listener: Listener) -> Self {
        self.listener = Some(listener);
        self
    }
}

/// A server and the user that it runs as.
#[derive(Debug)]
pub struct Local {
    /// As configured.
    pub server: Server,
    /// Its user.
    pub login: Login,
    /// Where the socket is if neither the configuration nor `postmaster.pid` tells.
    default_socket_dir: PathBuf,
    /// Variables of the login environment that name directories with tools, and the place below.
    homes: &'static [(&'static str, &'static str)],
    /// Where `postmaster.pid` last said that the socket is.
    told_socket_dir: Mutex<Option<PathBuf>>,
    /// The process that listened at the socket when it was last connected to, says the kernel; 0 if
    /// none is known. It is known without the pid file and without a descriptor.
    listener: AtomicU32,
    /// No server was at work in the data directory, and there has been no pid file since.
    vacant: AtomicBool,
    /// Held by a step that starts, stops or replaces the server.
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Local {
    /// Looks the user up and reads its environment.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn open(
        server: &Server,
        homes: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Self> {
        let login = Login::open(&server.user).await?;
        let default_socket_dir = login.variable("PGHOST").map(PathBuf::from);
        Ok(Self {
            server: server.clone(),
            default_socket_dir: default_socket_dir
                .filter(|dir| dir.is_absolute())
                .unwrap_or_else(|| PathBuf::from("/tmp")),
            login,
            homes,
            told_socket_dir: Mutex::default(),
            listener: AtomicU32::new(0),
            vacant: AtomicBool::new(false),
            one_at_a_time: tokio::sync::Mutex::default(),
        })
    }

    /// One step that changes the server's state at a time.
    ///
    /// # Errors
    /// When another is under way.
    pub fn exclusive(&self) -> anyhow::Result<tokio::sync::MutexGuard<'_, ()>> {
        self.one_at_a_time
            .try_lock()
            .context("another step (start, demote or rejoin) is under way on this database")
    }

    /// The path of the Unix socket. Reads `postmaster.pid` unless `socket_dir` is configured.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        let dir = self.server.socket_dir.clone().or_else(|| self.told_socket_dir());
        let dir = dir.unwrap_or_else(|| self.default_socket_dir.clone());
        dir.join(format!(".s.PGSQL.{}", self.server.port))
    }

    /// What the pid file says, or said when it could be read.
    fn told_socket_dir(&self) -> Option<PathBuf> {
        let told = PidFile::read(&self.server.data_dir, self.login.owner()).ok().flatten();
        let mut last = self.told_socket_dir.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = told.and_then(|file| file.socket_dir) {
            *last = Some(dir);
        }
        last.clone()
    }

    /// The path of `postmaster.pid`.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.server.data_dir.join("postmaster.pid")
    }

    /// Notes who listens at the socket, if it is the server of this data directory.
    pub fn note_listener(&self, pid: u32, uid: u32) {
        let ours = uid == self.login.uid().as_raw();
        if ours && pidfile::serves(pid, &self.server.data_dir) {
            self.listener.store(pid, Ordering::Relaxed);
        }
    }

    /// The server's main process.
    ///
    /// # Errors
    /// When `postmaster.pid` or `/proc` cannot be read, so that it is not known.
    pub fn main(&self) -> anyhow::Result<Main> {
        let dir = &self.server.data_dir;
        let listener = self.listener.load(Ordering::Relaxed);
        if listener != 0 {
            match pidfile::life(listener, dir) {
                Life::Serves => return Ok(Main::Serves(listener)),
                Life::Unknown => return Err(uncertain(listener)),
                // Its number may be given to others.
                Life::Gone => self.listener.store(0, Ordering::Relaxed),
            }
        }
        let file = PidFile::read(dir, self.login.owner())
            .with_context(|| format!("cannot read {}", self.pid_file().display()))?;
        let Some(file) = file else { return Ok(Main::NoFile) };
        self.vacant.store(false, Ordering::Relaxed);
        match pidfile::life(file.pid, dir) {
            Life::Serves => Ok(Main::Serves(file.pid)),
            Life::Gone => Ok(Main::Dead),
            Life::Unknown => Err(uncertain(file.pid)),
        }
    }

    /// The living main process.
    ///
    /// # Errors
    /// When it is not known whether there is one.
    pub fn main_pid(&self) -> anyhow::Result<Option<u32>> {
        Ok(match self.main()? {
            Main::Serves(pid) => Some(pid),
            Main::Dead | Main::NoFile => None,
        })
    }

    /// Whether [`Local::note_vacant`] still holds.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.vacant.load(Ordering::Relaxed)
    }

    /// No server is at work in the data directory, and there is no pid file.
    pub fn note_vacant(&self) {
        self.vacant.store(true, Ordering::Relaxed);
    }

    /// Runs one of the server's tools as its user, in its login environment.
    ///
    /// # Errors
    /// When the tool is not found, cannot be started, or does not end in time.
    pub async fn run<const N: usize>(
        &self,
        name: &str,
        arguments: [&OsStr; N],
        deadline: Duration,
    ) -> anyhow::Result<ToolOutcome> {
        let program = self.find(name)?;
        let tool: Tool<'_> = self.login.tool(&program, deadline);
        arguments.into_iter().fold(tool, Tool::arg).run().await
    }

    /// The same with all that a tool can be given. Its messages are English, so that they can be
    /// read.
    ///
    /// # Errors
    /// When the tool is not found, cannot be started, or does not end in time.
    pub async fn call(&self, call: Call) -> anyhow::Result<ToolOutcome> {
        let program = self.find(call.name)?;
        let mut tool: Tool<'_> = self.login.tool(&program, call.deadline);
        tool.arguments = call.arguments;
        tool.secrets = call.secrets;
        tool.secrets.push(("LC_ALL".into(), "C".into()));
        tool.listener = call.listener;
        tool.run().await
    }

    /// Does something with files as the server's user. See [`files`].
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn act<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        files::act(self.login.owner().cloned(), &self.server.data_dir, work).await
    }

    /// Reads a file of the data directory as its owner; `None` if it cannot be read, or is none.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.server.data_dir.join(name);
        self.as_owner(|| files::read(&path)).ok()?.ok()?
    }

    /// Does something with files as their owner, at once. `work` must not wait.
    pub(super) fn as_owner<T>(&self, work: impl FnOnce() -> T) -> std::io::Result<T> {
        as_owner(self.login.owner(), work)
    }

    fn is_program(&self, path: &Path) -> bool {
        self.as_owner(|| files::is_file(path)).is_ok_and(|is_file| is_file)
    }

    fn started_from(&self) -> Option<PathBuf> {
        program_dir(&String::from_utf8_lossy(&self.read("postmaster.opts")?))
    }

    /// Looks for a tool: in `bin_dir`, where the server's own program is, below the homes, in the
    /// user's `PATH`.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<PathBuf> {
        let homes = self.homes.iter().filter_map(|(variable, below)| {
            Some(Path::new(self.login.variable(variable)?).join(below))
        });
        let dirs = self.server.bin_dir.clone().into_iter();
        let dirs = dirs.chain(self.started_from()).chain(homes);
        let packaged = self.as_owner(|| layout::tools(&self.server.data_dir)).unwrap_or_default();
        dirs.chain(self.login.path()).chain(packaged).map(|dir| dir.join(name)).find(|path| self.is_program(path)).with_context(
            || {
                format!(
                    "{name} was not found in the PATH of user {:?}; set `bin_dir` to the directory that holds it",
                    self.server.user
                )
            },
        )
    }
}

/// What the files say of the main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Main {
    /// This process lives and is the server of the data directory.
    Serves(u32),
    /// The one in the pid file certainly is not.
    Dead,
    /// There is no pid file.
    NoFile,
}

fn uncertain(pid: u32) -> anyhow::Error {
    anyhow::anyhow!("cannot determine from /proc whether process {pid} is the server")
}

/// The directory of the program of the last start: the first word of `postmaster.opts`.
fn program_dir(text: &str) -> Option<PathBuf> {
    let program = text.split_whitespace().next()?.trim_matches('"');
    Path::new(program).parent().filter(|dir| dir.is_absolute()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn local(data_dir: &Path, socket_dir: Option<PathBuf>) -> Local {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        let server = Server {
            port: 26000,
            data_dir: data_dir.to_owned(),
            user,
            bin_dir: None,
            socket_dir,
            dbname: "postgres".to_owned(),
            unit: None,
        };
        Local::open(&server, &[("HOME", "no-such-place")]).await.unwrap()
    }

    #[tokio::test]
    async fn the_socket_is_where_the_server_says() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("postmaster.pid"), "1\n/d\n1\n26000\n/gauss/tmp\n").unwrap();
        let told = local(dir.path(), None).await.socket();
        assert_eq!(told, Path::new("/gauss/tmp/.s.PGSQL.26000"));
        let configured = local(dir.path(), Some("/run/pg".into())).await.socket();
        assert_eq!(configured, Path::new("/run/pg/.s.PGSQL.26000"));
    }

    #[tokio::test]
    async fn tools_are_found_beside_the_server() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gs_probe"), "").unwrap();
        let server = dir.path().join("gaussdb");
        let opts = format!("{} \"-D\" \"/data\" \"-M\" \"primary\"\n", server.display());
        fs::write(dir.path().join("postmaster.opts"), opts).unwrap();
        let local = local(dir.path(), None).await;
        assert_eq!(local.find("gs_probe").unwrap(), dir.path().join("gs_probe"));
        let error = local.find("gs_nothing").unwrap_err().to_string();
        assert!(error.starts_with("gs_nothing was not found"), "{error}");
    }
}
