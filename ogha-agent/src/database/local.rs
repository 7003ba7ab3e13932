//! A server's installation on this host: its user, its files, its tools.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;

use super::{
    Server, files,
    login::Login,
    pidfile::{self, PidFile},
    process::{Listener, Tool, ToolOutcome},
};

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
        let configured = self.server.socket_dir.clone();
        let told = || PidFile::read(&self.server.data_dir).ok().flatten()?.socket_dir;
        let dir = configured.or_else(told).unwrap_or_else(|| self.default_socket_dir.clone());
        dir.join(format!(".s.PGSQL.{}", self.server.port))
    }

    /// The living main process, or why it cannot be told.
    ///
    /// # Errors
    /// When `postmaster.pid` is there and cannot be read.
    pub fn main_pid(&self) -> anyhow::Result<Option<u32>> {
        let dir = &self.server.data_dir;
        pidfile::main_pid(dir)
            .with_context(|| format!("cannot read {}", dir.join("postmaster.pid").display()))
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
        files::act(self.login.owner(), work).await
    }

    /// Looks for a tool: in `bin_dir`, where the server's own program is, below the homes, in the
    /// user's `PATH`.
    pub(super) fn find(&self, name: &str) -> anyhow::Result<PathBuf> {
        let homes = self.homes.iter().filter_map(|(variable, below)| {
            Some(Path::new(self.login.variable(variable)?).join(below))
        });
        let dirs = self.server.bin_dir.clone().into_iter();
        let dirs = dirs.chain(started_from(&self.server.data_dir)).chain(homes);
        dirs.chain(self.login.path()).map(|dir| dir.join(name)).find(|path| path.is_file()).with_context(
            || {
                format!(
                    "{name} was not found in the PATH of user {:?}; set `bin_dir` to the directory that holds it",
                    self.server.user
                )
            },
        )
    }
}

/// The directory of the program that was last started on the data directory: the first word of
/// `postmaster.opts`.
fn started_from(data_dir: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(data_dir.join("postmaster.opts")).ok()?;
    let program = text.split_whitespace().next()?.trim_matches('"');
    Path::new(program).parent().filter(|dir| dir.is_absolute()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
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
