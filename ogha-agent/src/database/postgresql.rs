//! PostgreSQL: SQL for all that SQL can do, `pg_ctl` for the rest.

use std::{ffi::OsStr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::BoxFuture};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use ogha_common::units::Lsn;
use tokio::time::timeout;

use super::{
    Database, Observation, Role, Server, Step,
    local::Local,
    promotion::{self, Trigger},
    sql::{self, Row, Sql},
    stop,
};

/// Role, whether writes are refused, position, whether a standby receives.
///
/// In recovery `transaction_read_only` is on, and `default_transaction_read_only` turns it on
/// elsewhere. A standby's received position starts at the segment's begin when the receiver starts,
/// so the replayed one may be ahead; both are NULL before there was any.
const OBSERVE: &str = "select pg_is_in_recovery(), \
    current_setting('transaction_read_only'), \
    case when pg_is_in_recovery() \
        then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
        else pg_current_wal_flush_lsn() end, \
    exists (select from pg_stat_wal_receiver where status = 'streaming')";

const WRITABLE: &str =
    "select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off'";

/// Only asks: it creates the signal file and signals the main process (PostgreSQL 12 and later).
/// Returns the process that replays the log.
const PROMOTE: &str = "select pid from pg_stat_activity, pg_promote(wait => false) \
    where backend_type = 'startup'";

/// How long `pg_ctl promote -W`, which only asks as well, may take.
const PG_CTL_DEADLINE: Duration = Duration::from_secs(5);

/// A PostgreSQL server on this host.
#[derive(Debug)]
pub struct Postgresql {
    local: Arc<Local>,
    sql: Sql,
}

impl Postgresql {
    /// Looks the user up. The server may be down.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn open(server: &Server) -> anyhow::Result<Self> {
        let local = Arc::new(Local::open(server, &[]).await?);
        Ok(Self { sql: Sql::new(Arc::clone(&local)), local })
    }

    async fn look(&self) -> Observation {
        let answer = self.sql.query(OBSERVE, sql::DEADLINE).await;
        let (main_pid, pid_error) = match self.local.main_pid() {
            Ok(pid) => (pid, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        match answer {
            Ok(rows) => Observation { main_pid, error: pid_error, ..read(&rows) },
            Err(error) => Observation {
                state: sql::state(&error, main_pid.is_some()).to_owned(),
                main_pid,
                error: Some(error.to_string()),
                ..Observation::default()
            },
        }
    }

    async fn is_writable(&self) -> bool {
        let answer = self.sql.query(WRITABLE, sql::DEADLINE).await;
        answer.is_ok_and(|rows| cell(&rows, 0) == Some("t"))
    }

    async fn promote(&self) -> anyhow::Result<()> {
        let trigger = Trigger::guard(self.local.server.data_dir.join("promote"));
        let promoted = async {
            let startup = self.ask_to_promote().await?;
            promotion::seen(|| self.writable(), || nudge(startup)).await;
            Ok(())
        };
        match timeout(promotion::DEADLINE, promoted).await {
            Ok(Ok(())) => {
                trigger.done();
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => anyhow::bail!(
                "the promotion was asked for and not seen within {:?}; see the server's log",
                promotion::DEADLINE
            ),
        }
    }

    /// Returns the process that replays the log, where it is known.
    async fn ask_to_promote(&self) -> anyhow::Result<Option<Pid>> {
        let refusal = match self.sql.query(PROMOTE, sql::DEADLINE).await {
            Ok(rows) => {
                return Ok(cell(&rows, 0).and_then(|pid| pid.parse().ok()).map(Pid::from_raw));
            }
            Err(refusal) => refusal,
        };
        if self.is_writable().await {
            return Ok(None);
        }
        tracing::warn!("pg_promote() failed ({refusal}); trying pg_ctl promote");
        let dir = self.local.server.data_dir.as_os_str();
        let arguments = [OsStr::new("promote"), OsStr::new("-W"), OsStr::new("-D"), dir];
        let outcome = self.local.run("pg_ctl", arguments, PG_CTL_DEADLINE).await?;
        outcome
            .success("pg_ctl promote")
            .with_context(|| format!("pg_promote() said: {refusal}"))?;
        Ok(None)
    }
}

/// Wakes the process that replays the log. One that has just lost its stream sleeps for
/// `wal_retrieve_retry_interval` (5 s unless set) and may miss the promotion's own signal; a
/// reload wakes it and changes nothing.
fn nudge(startup: Option<Pid>) {
    if let Some(startup) = startup {
        // One that is gone has done its work.
        let _ = signal::kill(startup, Signal::SIGHUP);
    }
}

impl Database for Postgresql {
    fn kind(&self) -> &'static str {
        "postgresql"
    }

    fn observe(&self) -> BoxFuture<'_, Observation> {
        self.look().boxed()
    }

    fn writable(&self) -> BoxFuture<'_, bool> {
        self.is_writable().boxed()
    }

    fn perform(&self, step: Step) -> BoxFuture<'_, anyhow::Result<()>> {
        match step {
            Step::Promote => self.promote().boxed(),
            Step::StopImmediate => stop::immediate(&self.local).boxed(),
            Step::AfterFailover => async { Ok(()) }.boxed(),
        }
    }
}

fn cell(rows: &[Row], column: usize) -> Option<&str> {
    rows.first()?.get(column)?.as_deref()
}

/// Reads the answer to [`OBSERVE`].
fn read(rows: &[Row]) -> Observation {
    let role = match cell(rows, 0) {
        Some("f") => Role::Primary,
        Some("t") => Role::Standby,
        _ => Role::Unknown,
    };
    let refuses = cell(rows, 1) != Some("off");
    let state = match role {
        Role::Primary if refuses => "read only",
        Role::Standby if cell(rows, 3) != Some("t") => "disconnected",
        Role::Primary | Role::Standby => "normal",
        Role::Unknown => "unknown",
    };
    Observation {
        role,
        state: state.to_owned(),
        writable: role == Role::Primary && !refuses,
        lsn: cell(rows, 2).and_then(Lsn::parse),
        ..Observation::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [Option<&str>; 4]) -> Vec<Row> {
        vec![cells.map(|cell| cell.map(str::to_owned)).into()]
    }

    #[test]
    fn answers_are_read() {
        let primary = read(&row([Some("f"), Some("off"), Some("0/5000148"), Some("f")]));
        assert_eq!((primary.role, primary.writable), (Role::Primary, true));
        assert_eq!((primary.state.as_str(), primary.lsn), ("normal", Lsn::parse("0/5000148")));

        let read_only = read(&row([Some("f"), Some("on"), Some("0/5000148"), Some("f")]));
        assert_eq!((read_only.state.as_str(), read_only.writable), ("read only", false));

        let standby = read(&row([Some("t"), Some("on"), None, Some("t")]));
        assert_eq!((standby.role, standby.writable, standby.lsn), (Role::Standby, false, None));
        assert_eq!(standby.state, "normal");
        let alone = read(&row([Some("t"), Some("on"), None, Some("f")]));
        assert_eq!(alone.state, "disconnected");
    }

    #[test]
    fn an_answer_without_rows_tells_nothing() {
        let nothing = read(&[]);
        assert_eq!((nothing.role, nothing.writable, nothing.lsn), (Role::Unknown, false, None));
    }
}
