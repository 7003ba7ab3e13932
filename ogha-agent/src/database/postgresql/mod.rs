//! PostgreSQL: SQL for all that SQL can do, `pg_ctl` for the rest.

use std::{
    ffi::OsStr,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{FutureExt as _, future::BoxFuture};
use nix::sys::signal::Signal;
use tokio::sync::watch;

use super::{
    Database, Nodes, Observation, Progress, Server, Step,
    awaiting::Awaiting,
    identity::Identity,
    local::Local,
    main_process,
    progress::Reporter,
    promotion::{self, Repeat, Trigger},
    sql::{self, Sql},
    unit,
    vitals::Writing,
    write::{Writer, Written},
};
use crate::guest::process;

mod access;
mod auto_conf;
mod follow;
mod guard;
mod history;
mod inquiry;
mod observe;
mod options;
mod power;
mod privileges;
mod rejoin;
mod synchronize;

pub use access::{Decides, Login, Rule};
pub(super) use guard::guard;
pub use inquiry::{Access, Reach};
use observe::cell;

const WRITABLE: &str = "select not pg_catalog.pg_is_in_recovery() \
    and pg_catalog.current_setting('transaction_read_only') = 'off'";

/// Only asks: it creates the signal file and signals the main process (PostgreSQL 12 and later).
/// Returns the process that replays the log.
const PROMOTE: &str = "select pid from pg_catalog.pg_stat_activity, \
    pg_catalog.pg_promote(wait => false) where backend_type = 'startup'";

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
    question: String,
    awaiting: Awaiting,
    identity: Identity,
    progress: Reporter,
    writer: Writer,
}

impl Postgresql {
    /// Looks the user up. The server may be down.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn open(server: &Server, nodes: Nodes) -> anyhow::Result<Self> {
        let local = Arc::new(Local::open(server, &[]).await?);
        let writer = Writer::new(Arc::clone(&local));
        Ok(Self {
            sql: Sql::new(Arc::clone(&local)),
            orders: Sql::new(Arc::clone(&local)),
            local,
            nodes,
            question: observe::question(),
            awaiting: Awaiting::default(),
            identity: Identity::default(),
            progress: Reporter::new(),
            writer,
        })
    }

    async fn observe_once(&self) -> Observation {
        let asked = Instant::now();
        let answer = self.sql.query(&self.question, sql::DEADLINE).await;
        let (process, why) = main_process::find(&self.local, answer.as_ref().err()).await;
        let server = &self.local.server;
        match answer {
            Ok(rows) => Observation {
                answers: true,
                process,
                error: why,
                system_identifier: self.identity.of(&self.sql, observe::started(&rows)).await,
                ..observe::read(&rows, server, &self.nodes, &self.awaiting, asked)
            },
            Err(error) => Observation {
                state: sql::state(&error, process).to_owned(),
                answers: error.proves_life(),
                process,
                error: Some(main_process::reasons(sql::reason(&error, server), why)),
                ..Observation::default()
            },
        }
    }

    async fn is_writable(&self) -> bool {
        let answer = self.sql.query(WRITABLE, sql::DEADLINE).await;
        answer.is_ok_and(|rows| cell(&rows, 0) == Some("t"))
    }

    /// Asks again and again, for an order can be lost: if one of its processes dies, the server
    /// restarts the others, and is a standby that knows of no promotion.
    async fn promote(&self) -> anyhow::Result<()> {
        let trigger =
            Trigger::guard(self.local.server.data_dir.join("promote"), self.local.login.owner());
        let startup = AtomicI32::new(0);
        let nudge = || self.nudge(startup.load(Ordering::Relaxed));
        tokio::select! {
            biased;
            error = self.keep_asking(&startup) => return Err(error),
            () = promotion::seen(|| self.writable(), nudge) => {}
            () = tokio::time::sleep(promotion::DEADLINE) => anyhow::bail!(
                "the promotion was asked for and not seen within {:?}; see the server's log",
                promotion::DEADLINE
            ),
        }
        trigger.done();
        Ok(())
    }

    /// Orders the promotion, with growing pauses. Ends only if there is nothing to promote.
    async fn keep_asking(&self, startup: &AtomicI32) -> anyhow::Error {
        let mut repeat = Repeat::new();
        loop {
            match self.ask_to_promote().await {
                Ok(pid) => startup.store(pid.unwrap_or(0), Ordering::Relaxed),
                Err(error) => {
                    if self.local.main_pid().is_ok_and(|main| main.is_none()) {
                        return error.context("no server runs there");
                    }
                    repeat.log(&error);
                }
            }
            repeat.pause().await;
        }
    }

    /// Returns the process that replays the WAL, where it is known.
    async fn ask_to_promote(&self) -> anyhow::Result<Option<i32>> {
        let refusal = match self.sql.query(PROMOTE, sql::DEADLINE).await {
            Ok(rows) => return Ok(cell(&rows, 0).and_then(|pid| pid.parse().ok())),
            Err(refusal) => refusal,
        };
        // A primary that takes no writes yet, or never will.
        if refusal.is_wrong_state() {
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

    /// Wakes the process that replays the WAL. One that has just lost its stream sleeps for
    /// `wal_retrieve_retry_interval` (5 s unless set) and may miss the promotion's own signal; a
    /// reload wakes it and changes nothing.
    fn nudge(&self, startup: i32) {
        let pid = u32::try_from(startup).unwrap_or(0);
        // Its number may be another process's by now, which a reload may kill.
        let (uid, dir) = (self.local.login.uid().as_raw(), &self.local.server.data_dir);
        if let Err(error) = process::signal(pid, uid, dir, Signal::SIGHUP) {
            tracing::debug!("the process that replays the WAL was not woken: {error:#}");
        }
    }
}

impl Database for Postgresql {
    fn kind(&self) -> &'static str {
        "postgresql"
    }

    fn observe(&self) -> BoxFuture<'_, Observation> {
        self.observe_once().boxed()
    }

    fn writable(&self) -> BoxFuture<'_, bool> {
        self.is_writable().boxed()
    }

    fn perform(&self, step: Step) -> BoxFuture<'_, anyhow::Result<()>> {
        match step {
            Step::Promote => self.promote().boxed(),
            Step::StopImmediate => unit::fence(&self.local).boxed(),
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

    fn write(&self) -> BoxFuture<'_, Written> {
        self.writer.write().boxed()
    }

    fn writing(&self) -> Writing {
        self.writer.writing()
    }

    fn progress(&self) -> watch::Receiver<Option<Progress>> {
        self.progress.subscribe()
    }
}
