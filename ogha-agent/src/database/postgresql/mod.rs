//! PostgreSQL: SQL for all that SQL can do, `pg_ctl` for the rest.

use std::{ffi::OsStr, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::BoxFuture};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::time::timeout;

use tokio::sync::watch;

use super::{
    Database, Nodes, Observation, Progress, Server, Step,
    local::Local,
    progress::Reporter,
    promotion::{self, Trigger},
    replication::Confirmations,
    sql::{self, Sql},
    stop,
};

mod auto_conf;
mod follow;
mod history;
mod observe;
mod options;
mod power;
mod rejoin;
mod synchronize;

use observe::cell;

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
    nodes: Nodes,
    /// What observes. Kept open, so that it answers at once after a promotion.
    sql: Sql,
    /// What gives orders: its session has settings of its own.
    orders: Sql,
    confirmations: Confirmations,
    progress: Reporter,
}

impl Postgresql {
    /// Looks the user up. The server may be down.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn open(server: &Server, nodes: Nodes) -> anyhow::Result<Self> {
        let local = Arc::new(Local::open(server, &[]).await?);
        Ok(Self {
            sql: Sql::new(Arc::clone(&local)),
            orders: Sql::new(Arc::clone(&local)),
            local,
            nodes,
            confirmations: Confirmations::default(),
            progress: Reporter::new(),
        })
    }

    async fn look(&self) -> Observation {
        let answer = self.sql.query(observe::OBSERVE, sql::DEADLINE).await;
        let (main_pid, pid_error) = match self.local.main_pid() {
            Ok(pid) => (pid, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        match answer {
            Ok(rows) => Observation {
                main_pid,
                error: pid_error,
                ..observe::read(&rows, &self.nodes, &self.confirmations, main_pid)
            },
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
            Step::Checkpoint => self.orders.checkpoint().boxed(),
            Step::Demote(within) => self.demote(within).boxed(),
            Step::Disarm => self.disarm().boxed(),
            Step::Start(within) => self.start(within).boxed(),
            Step::Synchronize(nodes) => async move { self.synchronize(&nodes).await }.boxed(),
            Step::Follow(node) => async move { self.follow(&node).await }.boxed(),
            Step::Rejoin(node) => async move { self.rejoin(&node).await }.boxed(),
            Step::AfterFailover => async { Ok(()) }.boxed(),
        }
    }

    fn progress(&self) -> watch::Receiver<Option<Progress>> {
        self.progress.subscribe()
    }
}
