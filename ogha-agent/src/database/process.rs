//! Running the database's own tools: as its user, in a process group of their own, with a deadline
//! and a bound on what is kept of their output.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fmt, io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::account::Account;
use crate::limits;

/// Bytes kept of each of a tool's two streams: its last ones, for tools end with the reason.
pub const KEPT: usize = 64 * 1024;

/// How long output is waited for after the tool itself has ended: a server that it started may
/// hold the pipe for ever.
const DRAIN: Duration = Duration::from_millis(100);

/// A tool to run.
#[derive(Debug)]
pub struct Tool<'a> {
    /// The program's path.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// The user to become, which needs root; `None` to stay.
    pub account: Option<&'a Account>,
    /// Variables beside the environment, such as a password, which has no business in the list of
    /// processes.
    pub secrets: Vec<(OsString, OsString)>,
    /// Who hears what it prints, while it prints.
    pub listener: Option<Listener>,
    /// After this time its process group is killed.
    pub deadline: Duration,
}

/// Hears a tool's output piece by piece.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// How a tool ended.
#[derive(Debug)]
pub struct ToolOutcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// The end of its standard output, at most [`KEPT`] bytes.
    pub stdout: Vec<u8>,
    /// The end of its standard error, at most [`KEPT`] bytes.
    pub stderr: Vec<u8>,
}

impl ToolOutcome {
    /// Both streams as text, the errors last.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&self.stderr));
        text
    }

    /// `Ok` if the tool ended with 0.
    ///
    /// # Errors
    /// The tool's name, its exit status and its last words.
    pub fn success(&self, tool: impl fmt::Display) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.status.success(),
            "{tool} failed ({}): {}",
            self.status,
            last_words(&self.text())
        );
        Ok(())
    }
}

/// The last three lines that say something, in one line.
#[must_use]
pub fn last_words(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0 => "it said nothing".to_owned(),
        n => lines[n.saturating_sub(3)..].join("; "),
    }
}

impl<'a> Tool<'a> {
    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Runs the tool to its end. Dropping the future kills its process group.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended at the deadline (it is killed then).
    pub async fn run(self) -> anyhow::Result<ToolOutcome> {
        let name = self.program.display();
        let mut child = self.spawn().with_context(|| format!("cannot start {name}"))?;
        let group = Group::of(&child);
        let stdout = Tail::of(child.stdout.take(), self.listener.clone());
        let stderr = Tail::of(child.stderr.take(), self.listener.clone());
        let Ok(status) = timeout(self.deadline, child.wait()).await else {
            group.kill();
            drop(timeout(DRAIN, child.wait()).await);
            anyhow::bail!(
                "{name} did not end within {:?} and was killed; its last output: {}",
                self.deadline,
                last_words(&String::from_utf8_lossy(&stdout.finish().await))
            );
        };
        let status = status.with_context(|| format!("cannot wait for {name}"))?;
        group.ended();
        Ok(ToolOutcome { status, stdout: stdout.finish().await, stderr: stderr.finish().await })
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .envs(self.secrets.iter().map(|(key, value)| (key, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A session of its own, and so a group: in the agent's it could type into the terminal that
        // root started the agent from.
        let leave = || {
            nix::unistd::setsid()?;
            Ok(())
        };
        // SAFETY: between fork and exec one system call is made.
        unsafe { command.pre_exec(leave) };
        limits::hand_back(command.as_std_mut());
        // SAFETY: between fork and exec only system calls are made: nothing allocates, nothing takes a
        // lock.
        unsafe { command.pre_exec(be_killable) };
        if let Some(account) = self.account {
            account.take_on(&mut command);
        }
        command.spawn()
    }
}

/// The agent is the last that the kernel kills where memory runs out; its tools, and a server that they
/// start, are like all others. Where it cannot be changed it stays.
fn be_killable() -> io::Result<()> {
    // SAFETY: the strings are constants, and the descriptor is nobody else's.
    unsafe {
        let file =
            libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, c"0".as_ptr().cast(), 1);
            libc::close(file);
        }
    }
    Ok(())
}

/// A child's process group, killed when dropped before the child was seen to end.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            let outcome = killpg(group, Signal::SIGKILL);
            tracing::trace!(%group, ?outcome, "killed the process group of a tool");
        }
    }

    /// The group's leader has been waited for: its number may be given to others now.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last bytes of a stream, gathered by a task of its own.
struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    fn of(
        stream: Option<impl AsyncRead + Unpin + Send + 'static>,
        listener: Option<Listener>,
    ) -> Self {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let reader = stream.map(|stream| tokio::spawn(gather(stream, Arc::clone(&kept), listener)));
        Self { kept, reader }
    }

    async fn finish(mut self) -> Vec<u8> {
        if let Some(reader) = &mut self.reader {
            drop(timeout(DRAIN, reader).await);
        }
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

async fn gather(
    mut stream: impl AsyncRead + Unpin,
    kept: Arc<Mutex<VecDeque<u8>>>,
    listener: Option<Listener>,
) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if let Some(Listener(hear)) = &listener {
            hear(&String::from_utf8_lossy(&buffer[..count]));
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&buffer[..count]);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str, deadline: Duration) -> Tool<'static> {
        Tool {
            program: Path::new("/bin/sh"),
            arguments: vec!["-c".into(), script.into()],
            environment: &[],
            account: None,
            secrets: Vec::new(),
            listener: None,
            deadline,
        }
    }

    #[tokio::test]
    async fn output_and_exit_status_are_told() {
        let tool = shell("echo out; echo reason >&2; exit 3", Duration::from_secs(20));
        let outcome = tool.run().await.unwrap();
        assert_eq!(outcome.text(), "out\nreason\n");
        let error = outcome.success("sh").unwrap_err().to_string();
        assert_eq!(error, "sh failed (exit status: 3): out; reason");
    }

    #[tokio::test]
    async fn the_whole_group_dies_at_the_deadline() {
        let begun = Instant::now();
        let tool = shell("sleep 300 & echo $!; wait", Duration::from_millis(300));
        let error = tool.run().await.unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(60));
        let grandchild: u32 = error.rsplit(' ').next().unwrap().parse().unwrap();
        let status = || std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
        let gone = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            status().map_or(true, |stat| stat.contains(") Z "))
        });
        assert!(gone, "{error}");
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_pipe_is_not_waited_for() {
        let begun = Instant::now();
        let tool = shell("sleep 30 & echo started", Duration::from_secs(25));
        let outcome = tool.run().await.unwrap();
        assert_eq!(outcome.stdout, b"started\n");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn only_the_end_of_a_flood_is_kept() {
        let tool = shell("yes | head -n 100000; echo end", Duration::from_secs(60));
        let outcome = tool.run().await.unwrap();
        assert_eq!(outcome.stdout.len(), KEPT);
        assert!(outcome.stdout.ends_with(b"y\nend\n"));
    }

    #[tokio::test]
    async fn a_listener_hears_the_tool_while_it_runs() {
        let heard = Arc::new(Mutex::new(String::new()));
        let ear = Arc::clone(&heard);
        let mut tool = shell("echo \"$SECRET\"; sleep 60", Duration::from_millis(500));
        tool.secrets = vec![("SECRET".into(), "hush".into())];
        tool.listener = Some(Listener(Arc::new(move |text| ear.lock().unwrap().push_str(text))));
        tool.run().await.unwrap_err();
        assert_eq!(*heard.lock().unwrap(), "hush\n");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let mut tool = shell("", Duration::from_secs(1));
        tool.program = Path::new("/nowhere/gs_ctl");
        let error = format!("{:#}", tool.run().await.unwrap_err());
        assert!(error.starts_with("cannot start /nowhere/gs_ctl: No such file"), "{error}");
    }
}
