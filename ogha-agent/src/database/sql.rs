//! SQL over the local Unix socket: one connection, kept open and opened again when it is lost.
//!
//! It is kept because a standby's connection, open before the fault, answers the first question
//! after the promotion in a tenth of a millisecond. Only the simple query protocol is used: one
//! round trip, and the same in PostgreSQL and openGauss.

use std::{io, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::Mutex, task::AbortHandle, time::timeout};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, config::SslMode, error::DbError};

use super::{Process, Server, local::Local, socket};

/// The longest that one question may take, with connecting. A server that does not answer it
/// within a second is of no use to clients either.
pub const DEADLINE: Duration = Duration::from_secs(1);
/// A checkpoint writes all that is in memory.
const CHECKPOINT_DEADLINE: Duration = Duration::from_secs(600);

/// A row of the answer, as text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens at the socket, or it may not be used.
    #[error("cannot connect to {path}: {source}")]
    Connect {
        /// The socket.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another user's process listens at the socket: it is not the database.
    #[error(
        "a process of user {user} listens at {path}, not the database; end it, or set `socket_dir` \
         to the directory of the database's own socket"
    )]
    Stranger {
        /// The socket.
        path: String,
        /// Whose process it is.
        user: u32,
    },
    /// The server answered, with an error.
    #[error("{}: {}", .0.severity(), .0.message())]
    Server(Box<DbError>),
    /// The server answered, and ogha cannot log in as it wants.
    #[error("the login failed: {}", cause(.0))]
    Login(#[source] tokio_postgres::Error),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(#[source] tokio_postgres::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::Server(Box::new(db.clone())),
            None => Self::Lost(error),
        }
    }
}

impl Error {
    /// Why a connection was not opened.
    fn at_login(error: tokio_postgres::Error) -> Self {
        let broken =
            std::error::Error::source(&error).is_some_and(|source| source.is::<io::Error>());
        match Self::from(error) {
            Self::Lost(error) if !broken && !error.is_closed() => Self::Login(error),
            other => other,
        }
    }

    /// Whether only a server that lives can have said that.
    #[must_use]
    pub fn proves_life(&self) -> bool {
        matches!(self, Self::Server(_) | Self::Login(_))
    }

    /// Whether the server has another role than the statement needs.
    #[must_use]
    pub fn is_wrong_state(&self) -> bool {
        matches!(self, Self::Server(error) if error.code().code() == "55000")
    }

    /// Whether no database listens at the socket, for sure.
    #[must_use]
    pub fn nobody_listens(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        match self {
            Self::Connect { source, .. } => matches!(source.kind(), ConnectionRefused | NotFound),
            Self::Stranger { .. } => true,
            _ => false,
        }
    }

    /// Whether the agent itself could not ask: it has no descriptor left, or no right.
    fn is_own_fault(&self) -> bool {
        use io::ErrorKind::WouldBlock;
        matches!(self, Self::Connect { source, .. } if !self.nobody_listens() && source.kind() != WouldBlock)
    }

    /// Whether the server ended the connection, or could not: such a connection is not kept.
    pub(super) fn is_final(&self) -> bool {
        match self {
            // Severity is translated by the server; a lost connection shows by its class as well.
            Self::Server(error) => {
                matches!(error.severity(), "FATAL" | "PANIC")
                    || error.code().code().starts_with("57P")
            }
            Self::Connect { .. }
            | Self::Stranger { .. }
            | Self::Login(_)
            | Self::Lost(_)
            | Self::Timeout(_) => true,
        }
    }
}

/// The kept connection.
#[derive(Debug)]
pub struct Sql {
    local: Arc<Local>,
    live: Mutex<Option<Arc<Live>>>,
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Live {
    client: Client,
    driver: AbortHandle,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Live {
    /// Whether the server has not closed it, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// Asks, and waits for the answer as long as it takes.
    pub async fn ask(&self, statement: &str) -> Result<Vec<Row>, Error> {
        Ok(rows(&self.client.simple_query(statement).await?))
    }

    /// Opens one. Takes as long as the server does.
    pub async fn open(local: &Local) -> Result<Self, Error> {
        let path = local.socket();
        let stream = socket::connect(path.clone(), local.login.connect_as())
            .await
            .map_err(|source| Error::Connect { path: path.display().to_string(), source })?;
        // The kernel says who listens, whether or not that server lets anybody in.
        let listener = stream
            .peer_cred()
            .map_err(|source| Error::Connect { path: path.display().to_string(), source })?;
        let user = listener.uid();
        // Root may have opened the socket for it, and needs no such ways.
        if user != local.login.uid().as_raw() && user != 0 {
            return Err(Error::Stranger { path: path.display().to_string(), user });
        }
        if let Some(pid) = listener.pid().and_then(|pid| u32::try_from(pid).ok()) {
            local.note_listener(pid, user);
        }
        let (client, connection) = Config::new()
            .user(&local.server.user)
            .dbname(&local.server.dbname)
            .application_name("ogha")
            // Over the settings of the role and of the database: no name, operator or type of
            // another schema may take the place of the server's own.
            .options("-c search_path=pg_catalog")
            .ssl_mode(SslMode::Disable)
            .connect_raw(stream, NoTls)
            .await
            .map_err(Error::at_login)?;
        let driver = tokio::spawn(async move {
            // Its error reaches whoever asks; notices are of no interest.
            drop(connection.await);
        });
        Ok(Self { client, driver: driver.abort_handle() })
    }
}

impl Sql {
    /// Connects at the first question.
    #[must_use]
    pub fn new(local: Arc<Local>) -> Self {
        Self { local, live: Mutex::new(None) }
    }

    /// Has the server write out all that is in memory.
    ///
    /// # Errors
    /// When it does not within ten minutes.
    pub async fn checkpoint(&self) -> anyhow::Result<()> {
        self.query("checkpoint", CHECKPOINT_DEADLINE).await.context("the checkpoint")?;
        Ok(())
    }

    /// Asks, and waits for the answer at most `within`. A connection that turns out to be lost is
    /// opened again once. After a timeout the connection is given up, as its answer may never come.
    ///
    /// # Errors
    /// Each way in which there may be no answer.
    pub async fn query(&self, statement: &str, within: Duration) -> Result<Vec<Row>, Error> {
        match timeout(within, self.ask(statement)).await {
            Ok(answer) => answer,
            Err(_) => {
                // If another caller holds the lock, it is about to open a new one.
                if let Ok(mut live) = self.live.try_lock() {
                    *live = None;
                }
                Err(Error::Timeout(within))
            }
        }
    }

    async fn ask(&self, statement: &str) -> Result<Vec<Row>, Error> {
        loop {
            let (live, fresh) = self.live().await?;
            let error = match live.ask(statement).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if !error.is_final() {
                return Err(error);
            }
            self.forget(&live).await;
            if fresh {
                return Err(error);
            }
        }
    }

    /// The connection, and whether it was opened just now.
    async fn live(&self) -> Result<(Arc<Live>, bool), Error> {
        let mut kept = self.live.lock().await;
        if let Some(live) = kept.as_ref().filter(|live| live.is_open()) {
            return Ok((Arc::clone(live), false));
        }
        let live = Arc::new(Live::open(&self.local).await?);
        *kept = Some(Arc::clone(&live));
        Ok((live, true))
    }

    async fn forget(&self, lost: &Arc<Live>) {
        let mut kept = self.live.lock().await;
        if kept.as_ref().is_some_and(|live| Arc::ptr_eq(live, lost)) {
            *kept = None;
        }
    }
}

fn rows(messages: &[SimpleQueryMessage]) -> Vec<Row> {
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// The reason behind the library's own words.
fn cause(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// The word for people of a server that did not answer.
///
/// Both servers refuse connections while they change their state with SQLSTATE 57P03
/// (`cannot_connect_now`) and tell the state only in the message, which the server may translate;
/// then "not ready" is all that can be said.
#[must_use]
pub fn state(error: &Error, process: Process) -> &'static str {
    match error {
        Error::Server(error) => refusal(error.code().code(), error.message()),
        Error::Login(_) => LOGIN_REFUSED,
        Error::Connect { .. } | Error::Stranger { .. } | Error::Lost(_)
            if process == Process::Gone =>
        {
            "stopped"
        }
        _ if error.is_own_fault() => "unknown",
        Error::Connect { .. } | Error::Stranger { .. } | Error::Lost(_) | Error::Timeout(_) => {
            "unreachable"
        }
    }
}

/// The reason for people: what does not let ogha in is named.
#[must_use]
pub fn reason(error: &Error, server: &Server) -> String {
    if state(error, Process::Unknown) != LOGIN_REFUSED {
        return error.to_string();
    }
    format!(
        "ogha cannot log in to database {:?} as role {:?}: {error}; see pg_hba.conf, and whether both \
         exist",
        server.dbname, server.user
    )
}

/// The state of a server that lives and does not let ogha in.
const LOGIN_REFUSED: &str = "login refused";

fn refusal(code: &str, message: &str) -> &'static str {
    let says = |words: &str| message.contains(words);
    match code {
        _ if says("pending mode") => "pending",
        "57P03" if says("starting up") || says("not yet accepting") => "starting",
        "57P03" if says("shutting down") => "shutting down",
        "57P03" if says("recovery mode") => "recovery",
        "57P03" => "not ready",
        "57P01" | "57P02" => "shutting down",
        "53300" => "too many connections",
        // Wrong role, password or pg_hba.conf; no such database; no right to connect.
        _ if code.starts_with("28") => LOGIN_REFUSED,
        "3D000" | "42501" => LOGIN_REFUSED,
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_a_living_server_have_words() {
        let cannot_connect_now = [
            ("the database system is starting up", "starting"),
            ("the database system is not yet accepting connections", "starting"),
            ("the database system is shutting down", "shutting down"),
            ("the database system is in recovery mode", "recovery"),
            ("can not accept connection in pending mode.", "pending"),
            ("can not accept connection if hot standby off", "not ready"),
            ("das Datenbanksystem startet", "not ready"),
        ];
        for (message, word) in cannot_connect_now {
            assert_eq!(refusal("57P03", message), word, "{message}");
        }
        assert_eq!(refusal("53300", "sorry, too many clients already"), "too many connections");
        assert_eq!(refusal("28000", "role \"omm\" does not exist"), LOGIN_REFUSED);
        assert_eq!(refusal("28P01", "password authentication failed"), LOGIN_REFUSED);
        assert_eq!(refusal("3D000", "database \"x\" does not exist"), LOGIN_REFUSED);
    }

    #[test]
    fn a_dead_server_is_stopped_and_a_silent_one_unreachable() {
        let failed = |source| Error::Connect { path: "/tmp/.s".to_owned(), source };
        let refused = failed(io::ErrorKind::ConnectionRefused.into());
        assert!(refused.nobody_listens() && !refused.proves_life());
        assert_eq!(state(&refused, Process::Gone), "stopped");
        assert_eq!(state(&refused, Process::Running(7)), "unreachable");
        assert_eq!(state(&Error::Timeout(DEADLINE), Process::Running(7)), "unreachable");
        assert_eq!(state(&Error::Timeout(DEADLINE), Process::Gone), "unreachable");
        for errno in [libc::EMFILE, libc::ENFILE, libc::EACCES] {
            let own = failed(io::Error::from_raw_os_error(errno));
            assert!(!own.nobody_listens(), "{errno}");
            assert_eq!(state(&own, Process::Unknown), "unknown");
        }
    }
}
