//! A real write as a check: one WAL record and one flush, by a session that is kept for nothing else.
//!
//! It waits for this server's disks alone: with `synchronous_commit = local` no standby is waited for, it
//! touches no table and so waits for no lock, and a session that is open needs no room among
//! `max_connections`. The record is a logical message that no server replays, with the prefix `ogha`;
//! whoever is allowed to log in may write it. It is never written on a standby.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};

use super::{
    local::Local,
    sql::{self, Error, Live},
    vitals::Writing,
};
use crate::guest::{devices::Devices, task::child_called};

/// `synchronous_commit` of this session alone; and which process it has.
const BEGIN: &str = "set synchronous_commit = local; select pg_catalog.pg_backend_pid()";
/// A message that is part of the transaction: its commit is flushed, and waited for.
const WRITE: &str = "select case when not pg_catalog.pg_is_in_recovery() \
    then pg_catalog.pg_logical_emit_message(true, 'ogha', ''::pg_catalog.text) end";
/// `undefined_function`
const NO_SUCH_FUNCTION: &str = "42883";
/// How long opening the session may take.
const OPEN: Duration = Duration::from_secs(1);

/// What came of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is on disk.
    Done,
    /// It was not made, for this reason; the storage is not known to hang.
    Refused(String),
    /// This server cannot be asked to.
    Unsupported,
}

/// The session that writes.
#[derive(Debug)]
pub struct Writer {
    local: Arc<Local>,
    session: Mutex<Option<Live>>,
    writing: Writing,
    unsupported: AtomicBool,
}

impl Writer {
    /// Opens the session at the first write.
    #[must_use]
    pub fn new(local: Arc<Local>) -> Self {
        let (session, unsupported) = (Mutex::new(None), AtomicBool::new(false));
        Self { local, session, writing: Writing::default(), unsupported }
    }

    /// What is known of the session while it writes.
    #[must_use]
    pub fn writing(&self) -> Writing {
        self.writing.clone()
    }

    /// Writes, and waits for as long as it takes. Who drops the future ends the session with it.
    pub async fn write(&self) -> Written {
        if self.unsupported.load(Ordering::Relaxed) {
            return Written::Unsupported;
        }
        let mut kept = self.session.lock().await;
        let session = match kept.take().filter(Live::is_open) {
            Some(session) => session,
            None => match timeout(OPEN, self.open()).await {
                Ok(Ok(session)) => session,
                Ok(Err(error)) => return self.refused(&error),
                Err(_) => return self.refused(&Error::Timeout(OPEN)),
            },
        };
        let underway = self.writing.begin();
        let answer = session.ask(WRITE).await;
        drop(underway);
        match answer {
            Ok(rows) => {
                *kept = Some(session);
                match rows.first().and_then(|row| row.first()) {
                    Some(Some(_)) => Written::Done,
                    _ => Written::Refused("the database is a standby".to_owned()),
                }
            }
            Err(error) => {
                *kept = Some(session).filter(|_| !error.is_final());
                self.refused(&error)
            }
        }
    }

    fn refused(&self, error: &Error) -> Written {
        if matches!(error, Error::Server(error) if error.code().code() == NO_SUCH_FUNCTION) {
            self.unsupported.store(true, Ordering::Relaxed);
            return Written::Unsupported;
        }
        Written::Refused(sql::reason(error, &self.local.server))
    }

    async fn open(&self) -> Result<Live, Error> {
        let session = Live::open(&self.local).await?;
        let rows = session.ask(BEGIN).await?;
        let number = rows.last().and_then(|row| row.first()?.as_deref()?.parse().ok());
        let main = self.local.main_pid().ok().flatten();
        let (pid, devices) = match main {
            Some(main) => {
                let devices = spawn_blocking(move || Devices::of(main)).await.ok().flatten();
                (number.and_then(|number| child_called(main, number)), devices)
            }
            None => (None, None),
        };
        self.writing.is_by(pid, devices);
        Ok(session)
    }
}
