//! The agent's end of the control socket.
//!
//! Every client is served by a task of its own, with a deadline and a limit on what it may send,
//! so that a slow client or garbage costs nobody else anything. The task may be dropped at any
//! point: a request changes nothing before the handler has it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    future::Future,
    io,
    os::unix::{
        fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    sync::Semaphore,
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    protocol::{self, Request, Response},
    socket_path,
};
use crate::printable;

/// Octets that a request may have, its newline among them.
const LONGEST_REQUEST: usize = 64 * 1024;
/// How long a client may take to ask, the handler to answer, and the client to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients at a time; more are told to come back.
const MOST_CLIENTS: usize = 32;
/// A pause after an error of `accept`, such as too many open files; it doubles with each further one.
const AFTER_ERROR: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A control socket that nobody serves yet: clients queue until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    place: Place,
}

/// The right to the socket's path. When it is dropped the socket goes first, then the lock.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// What tells a live agent from a stale socket.
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may be gone already, with its directory; and the next agent replaces it anyway.
        let _ = fs::remove_file(&self.path);
    }
}

impl Server {
    /// Takes the control socket of `run_dir`, which is made (mode 0755) if it is not there. The
    /// socket has mode 0600. One that a dead agent left behind is replaced.
    ///
    /// # Errors
    /// Another agent is running here, or the directory cannot be used.
    pub fn bind(run_dir: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run_dir)
            .with_context(|| format!("cannot make node.run_dir, {}", run_dir.display()))?;
        let lock = lock(run_dir)?;
        let path = socket_path(run_dir);
        if UnixStream::connect(&path).is_ok() {
            return Err(another(&path));
        }
        let listener = listen(&path)
            .with_context(|| format!("cannot make the control socket {}", path.display()))?;
        Ok(Self { listener, place: Place { path, _lock: lock } })
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Serves clients for ever: each request goes through `handler`. Must run within a runtime.
    pub async fn serve<F, Answer>(self, handler: F)
    where
        F: Fn(Request) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Response> + Send,
    {
        let Self { listener, place: _place } = self;
        let listener = match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return warn!("cannot serve the control socket: {error}"),
        };
        let handler = Arc::new(handler);
        let places = Arc::new(Semaphore::new(MOST_CLIENTS));
        let mut pause = AFTER_ERROR;
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if pause == AFTER_ERROR {
                        warn!("cannot accept a client of the control socket: {error}");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            pause = AFTER_ERROR;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                refuse(&stream);
                continue;
            };
            let handler = Arc::clone(&handler);
            tokio::spawn(async move {
                if let Err(error) = converse(stream, &*handler).await {
                    debug!("a client of the control socket went away: {error}");
                }
                drop(place);
            });
        }
    }
}

/// Only one agent a `run_dir`: the kernel drops the lock with the process that holds it.
fn lock(run_dir: &Path) -> anyhow::Result<File> {
    let path = run_dir.join("agent.lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(another(&socket_path(run_dir))),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn another(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "another agent is running here: it holds {}; stop it first, or set another node.run_dir",
        path.display()
    )
}

/// The socket is made beside its place, and moved there when nobody else can open it.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let new = path.with_extension("sock.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => bail!(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, path)?;
    Ok(listener)
}

/// Tells one client too many so, without waiting for it.
fn refuse(stream: &tokio::net::UnixStream) {
    let busy = Response::error("too many clients at a time; try again");
    // The buffer of a new socket takes a line; if not, the client sees the end.
    let _ = stream.try_write(&line(&busy));
}

async fn converse<F, Answer>(stream: tokio::net::UnixStream, handler: &F) -> io::Result<()>
where
    F: Fn(Request) -> Answer,
    Answer: Future<Output = Response>,
{
    let (reader, mut writer) = stream.into_split();
    let mut request = Vec::new();
    let mut reader = BufReader::new(reader.take(LONGEST_REQUEST as u64));
    let read = timeout(PATIENCE, reader.read_until(b'\n', &mut request));
    let response = match read.await {
        Err(_) => Response::error(format!("no whole request came within {PATIENCE:?}")),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(0)) => return Ok(()),
        Ok(Ok(_)) if !request.ends_with(b"\n") && request.len() >= LONGEST_REQUEST => {
            Response::error(format!("a request has at most {LONGEST_REQUEST} octets"))
        }
        Ok(Ok(_)) => answer(&request, handler).await,
    };
    timeout(PATIENCE, writer.write_all(&line(&response))).await??;
    Ok(())
}

async fn answer<F, Answer>(request: &[u8], handler: &F) -> Response
where
    F: Fn(Request) -> Answer,
    Answer: Future<Output = Response>,
{
    match protocol::parse(request) {
        Err(why) => Response::Error(why),
        Ok(request) => timeout(PATIENCE, handler(request)).await.unwrap_or_else(|_| {
            Response::error(format!("the agent's loop did not answer within {PATIENCE:?}"))
        }),
    }
}

fn line(response: &Response) -> Vec<u8> {
    let mut line = printable::json_line(response).expect("names are strings, numbers are integers");
    line.push(b'\n');
    line
}
