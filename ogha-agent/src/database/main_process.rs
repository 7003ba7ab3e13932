//! Whether the server's main process lives, as far as one observation can tell.
//!
//! An answer by SQL proves life, and the kernel names the process that listens at the socket. Death
//! needs a proof as well: a process that certainly is not there, or no pid file, nobody who listens
//! and no server at work in the data directory. Everything between is [`Process::Unknown`].

use std::{io, path::PathBuf};

use super::{
    Process,
    local::{Local, Main},
    sql, stop,
};
use crate::guest::files;

/// The main process, and why it is not known. `refusal` is what came instead of an answer by SQL.
pub(super) async fn find(local: &Local, refusal: Option<&sql::Error>) -> (Process, Option<String>) {
    let main = match local.main() {
        Ok(Main::Serves(pid)) => return (Process::Running(pid), None),
        Ok(main) => main,
        Err(error) => return (Process::Unknown, Some(format!("{error:#}"))),
    };
    let Some(error) = refusal.filter(|error| !error.proves_life()) else {
        let path = local.pid_file().display().to_string();
        let why = format!("the server answers, and {path} does not name its process");
        return (Process::Unknown, Some(why));
    };
    match main {
        Main::Serves(pid) => (Process::Running(pid), None),
        Main::Dead => (Process::Gone, None),
        Main::NoFile if !error.nobody_listens() => {
            let path = local.pid_file().display().to_string();
            (Process::Unknown, Some(format!("there is no {path}, and its socket may be in use")))
        }
        Main::NoFile => vacant(local).await,
    }
}

/// Without a pid file, `/proc` is searched once; nothing starts there afterwards without a new one.
async fn vacant(local: &Local) -> (Process, Option<String>) {
    if local.is_vacant() {
        return (Process::Gone, None);
    }
    let dir = local.server.data_dir.clone();
    let left = match local.as_owner(|| files::look(&dir)).flatten() {
        Ok(()) => at_work(local, dir).await,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot open the data directory")),
    };
    match left {
        Ok(left) if left.is_empty() => {
            local.note_vacant();
            (Process::Gone, None)
        }
        Ok(left) => {
            let path = local.pid_file().display().to_string();
            (Process::Unknown, Some(format!("there is no {path}, and processes {left:?} serve")))
        }
        Err(error) => (Process::Unknown, Some(format!("{error:#}"))),
    }
}

async fn at_work(local: &Local, dir: PathBuf) -> anyhow::Result<Vec<u32>> {
    stop::processes(dir, local.login.uid().as_raw()).await?.verified()
}

/// Why SQL did not answer, and why the process is not known.
pub(super) fn reasons(refusal: String, process: Option<String>) -> String {
    process.map_or(refusal.clone(), |why| format!("{refusal}; {why}"))
}
