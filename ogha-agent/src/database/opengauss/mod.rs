//! openGauss: SQL for what it is, `gs_ctl` and `gs_om` for what is done to it.
//!
//! Nothing here believes an exit code of `gs_ctl`: its `failover` says "completed" and 0 on a dead
//! former primary, its `query` repeats a stale file and 0 beside a hung server, and both return a
//! second after the fact. What counts is SQL.

use std::{
    ffi::OsStr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use ogha_common::units::Lsn;
use tokio::{sync::watch, time::timeout};

use super::{
    Database, Nodes, Observation, Process, Progress, Role, Server, Step,
    awaiting::Awaiting,
    commits::Commits,
    identity::Identity,
    local::Local,
    main_process,
    progress::Reporter,
    promotion::{self, Repeat, Trigger},
    sql::{self, Row, Sql},
    stop,
    vitals::Writing,
    write::{Writer, Written},
};

pub mod gs_ctl;
pub mod gs_om;
mod power;
mod rejoin;
mod replication;
pub mod state_file;

use state_file::StateFile;

/// Any user may ask this; the first four columns are what openGauss's own tools ask.
const OBSERVE: &str = "select local_role, db_state, detail_information, \
    pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'), \
    extract(epoch from pg_catalog.pg_postmaster_start_time()) \
    from pg_catalog.pg_stat_get_stream_replications()";
const STARTED: usize = 5;
/// Asked separately, as [`replication::PRIMARY`] is: on the other role each of the two is an error or
/// has a different type. The first column is text, the second a record: `(term,lsn)`.
const STANDBY: &str = "select pg_catalog.pg_last_xlog_receive_location(), \
    pg_catalog.pg_last_xlog_replay_location(), receiver.channel from (select 1) as once \
    left join pg_catalog.pg_stat_get_wal_receiver() as receiver on true";

/// Longer than the promotion itself may take, for it ends a second after it.
const FAILOVER_DEADLINE: Duration = Duration::from_secs(65);
/// How long after `gs_ctl failover` has ended SQL may take to agree.
const VERDICT_GRACE: Duration = Duration::from_secs(2);
/// `gs_om` waits for ssh to a dead host, twice over.
const REFRESHCONF_DEADLINE: Duration = Duration::from_secs(180);
/// `gs_ctl query` needs 5 s to give a hung server up.
const QUERY_DEADLINE: Duration = Duration::from_secs(10);

/// Where openGauss's profile says that tools are.
const HOMES: &[(&str, &str)] = &[("GAUSSHOME", "bin"), ("GPHOME", "script")];

/// An openGauss server on this host.
#[derive(Debug)]
pub struct Opengauss {
    local: Arc<Local>,
    nodes: Nodes,
    sql: Sql,
    /// What gives orders, so that none is behind an observation.
    orders: Sql,
    question: String,
    awaiting: Awaiting,
    /// Since when the settings about commits have been the same.
    steady: Mutex<Option<(Commits, Instant)>>,
    identity: Identity,
    progress: Reporter,
    writer: Writer,
}

impl Opengauss {
    /// Looks the user up and reads its environment. The server may be down.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn open(server: &Server, nodes: Nodes) -> anyhow::Result<Self> {
        let local = Arc::new(Local::open(server, HOMES).await?);
        let writer = Writer::new(Arc::clone(&local));
        Ok(Self {
            sql: Sql::new(Arc::clone(&local)),
            orders: Sql::new(Arc::clone(&local)),
            local,
            nodes,
            question: replication::question(),
            awaiting: Awaiting::default(),
            identity: Identity::default(),
            steady: Mutex::default(),
            progress: Reporter::new(),
            writer,
        })
    }

    /// What `gs_ctl query` says: slower than SQL and less to be trusted (see
    /// [`gs_ctl::Query::Stale`]), but it also answers in pending mode.
    ///
    /// # Errors
    /// When the tool is not found or does not end in time.
    pub async fn query(&self) -> anyhow::Result<gs_ctl::Query> {
        let dir = self.local.server.data_dir.as_os_str();
        let arguments = [OsStr::new("query"), OsStr::new("-D"), dir];
        let outcome = self.local.run("gs_ctl", arguments, QUERY_DEADLINE).await?;
        Ok(gs_ctl::Query::parse(&outcome.text()))
    }

    async fn observe_once(&self) -> Observation {
        let answer = timeout(sql::DEADLINE, self.ask()).await;
        let answer = answer.unwrap_or(Err(sql::Error::Timeout(sql::DEADLINE)));
        let (process, why) = main_process::find(&self.local, answer.as_ref().err()).await;
        match answer {
            Ok(seen) => Observation { answers: true, process, error: why, ..seen },
            Err(error) => self.guess(&error, process, why),
        }
    }

    async fn ask(&self) -> Result<Observation, sql::Error> {
        let asked = Instant::now();
        let rows = self.sql.query(OBSERVE, sql::DEADLINE).await?;
        let started = cell(&rows, STARTED);
        let mut seen = read(&rows);
        seen.system_identifier = self.identity.of(&self.sql, started).await;
        let question = match seen.role {
            Role::Primary => &self.question,
            Role::Standby => STANDBY,
            Role::Unknown => return Ok(seen),
        };
        // Wrong for this role if it changed in between; the next observation will know.
        let rows = self.sql.query(question, sql::DEADLINE).await.unwrap_or_default();
        seen.lsn = furthest(&rows);
        if seen.role == Role::Primary {
            seen.replication = self.replication(&rows, started, asked);
        } else {
            self.awaiting.forget();
            seen.upstream =
                cell(&rows, 2).and_then(|channel| replication::upstream(channel, &self.nodes));
        }
        Ok(seen)
    }

    /// Without SQL there is the state file, for a word. It is as old as the server's last change of
    /// state, so it says something only while the server lives, and nothing about its role.
    fn guess(&self, error: &sql::Error, process: Process, why: Option<String>) -> Observation {
        let hint = process.pid().and_then(|_| StateFile::parse(&self.local.read("gaussdb.state")?));
        let word = sql::state(error, process);
        let state = match hint.map(|hint| hint.state) {
            Some(state @ ("starting" | "promoting" | "demoting" | "building"))
                if !matches!(word, "unreachable" | "unknown" | "recovery") =>
            {
                state
            }
            _ => word,
        };
        Observation {
            state: state.to_owned(),
            answers: error.proves_life(),
            process,
            error: Some(main_process::reasons(sql::reason(error, &self.local.server), why)),
            ..Observation::default()
        }
    }

    async fn is_writable(&self) -> bool {
        let answer = self.sql.query(OBSERVE, sql::DEADLINE).await;
        answer.is_ok_and(|rows| read(&rows).writable)
    }

    /// The server is primary some 30 ms after `gs_ctl` signalled it, while the command looks at the
    /// outcome only each second; so SQL is watched meanwhile.
    async fn promote(&self) -> anyhow::Result<()> {
        // Declared before the command, and so dropped after it: it would create the file again.
        let trigger =
            Trigger::guard(self.local.server.data_dir.join("failover"), self.local.login.owner());
        let mut seen =
            timeout(promotion::DEADLINE, promotion::seen(|| self.writable(), || ())).boxed();
        let mut repeat = Repeat::new();
        loop {
            let mut command = failover(Arc::clone(&self.local)).boxed();
            let ended = tokio::select! {
                biased;
                seen = &mut seen => {
                    seen.map_err(|_| self.not_seen("gs_ctl failover still runs"))?;
                    // It ends in its own time.
                    tokio::spawn(command);
                    break;
                }
                ended = &mut command => ended,
            };
            // "Completed" may be a lie: a dead former primary gets it too, out of its state file.
            // And a failure may have come just too early.
            match timeout(VERDICT_GRACE, &mut seen).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return Err(self.not_seen("gs_ctl failover was repeated")),
                Err(_) if !timed_out(&ended) && self.may_promote_yet().await => {}
                Err(_) => {
                    ended?;
                    return Err(self.not_seen("gs_ctl failover said that it was completed"));
                }
            }
            // The order is lost if the server restarted its processes meanwhile.
            let failed = ended.err().unwrap_or_else(|| self.not_seen("gs_ctl failover ended"));
            repeat.log(&failed);
            repeat.pause().await;
        }
        trigger.done();
        Ok(())
    }

    /// Whether an order to promote may have been lost: the server lives, and is a standby still or
    /// has no role yet.
    async fn may_promote_yet(&self) -> bool {
        let seen = self.observe_once().await;
        let comes_up = matches!(seen.state.as_str(), "starting" | "recovery" | "not ready");
        match seen.role {
            Role::Standby => true,
            Role::Unknown => seen.process.pid().is_some() && comes_up,
            Role::Primary => false,
        }
    }

    fn not_seen(&self, command: &str) -> anyhow::Error {
        let pid = self.local.main_pid().ok().flatten();
        let server = pid.map_or_else(
            || "no server runs there".to_owned(),
            |pid| format!("its server, process {pid}, lives"),
        );
        anyhow::anyhow!(
            "the database in {} was not seen to accept writes ({command}; {server}); see its log",
            self.local.server.data_dir.display()
        )
    }

    async fn refreshconf(&self) -> anyhow::Result<()> {
        let arguments = ["-t", "refreshconf"].map(OsStr::new);
        let outcome = self.local.run("gs_om", arguments, REFRESHCONF_DEADLINE).await?;
        if outcome.status.success() {
            return Ok(());
        }
        Err(gs_om::Failure::parse(&outcome.text()).into())
    }
}

impl Database for Opengauss {
    fn kind(&self) -> &'static str {
        "opengauss"
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
            Step::StopImmediate => stop::fence(&self.local).boxed(),
            Step::AfterFailover => self.refreshconf().boxed(),
            Step::Checkpoint => self.orders.checkpoint().boxed(),
            Step::Demote(within) => self.demote(within).boxed(),
            Step::Disarm => self.disarm().boxed(),
            Step::Start(within) => self.start(within).boxed(),
            Step::Synchronize(nodes) => async move { self.synchronize(&nodes).await }.boxed(),
            // Standbys find the primary among their replconninfo by themselves.
            Step::Follow(_) => async { Ok(()) }.boxed(),
            Step::Rejoin(node) => async move { self.rejoin(&node).await }.boxed(),
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

/// Runs `gs_ctl failover`. Dropping the future kills it.
async fn failover(local: Arc<Local>) -> anyhow::Result<()> {
    let arguments = [OsStr::new("failover"), OsStr::new("-D"), local.server.data_dir.as_os_str()];
    let outcome = local.run("gs_ctl", arguments, FAILOVER_DEADLINE).await?;
    tracing::debug!(status = %outcome.status, "gs_ctl failover: {}", outcome.text());
    outcome.success("gs_ctl failover")
}

/// Whether the command gave its order each second until its own deadline: such an order is not lost.
fn timed_out(ended: &anyhow::Result<()>) -> bool {
    ended.as_ref().is_err_and(|error| format!("{error:#}").contains("failover timeout"))
}

fn cell(rows: &[Row], column: usize) -> Option<&str> {
    rows.first()?.get(column)?.as_deref().map(str::trim)
}

/// Reads the answer to [`OBSERVE`].
fn read(rows: &[Row]) -> Observation {
    let name = cell(rows, 0).unwrap_or_default();
    let role = role(name);
    let db_state = cell(rows, 1).unwrap_or("Unknown");
    let accepts = cell(rows, 3) == Some("f") && cell(rows, 4) == Some("off");
    let state = match (role, db_state) {
        (Role::Unknown, _) if name == "Pending" => "pending".to_owned(),
        (Role::Primary, "Normal") if !accepts => "read only".to_owned(),
        (_, "Normal") if name == "Normal" => "standalone".to_owned(),
        (_, "Need repair") => {
            format!("need repair: {}", cell(rows, 2).unwrap_or("?").to_lowercase())
        }
        _ => db_state.to_lowercase(),
    };
    Observation {
        role,
        state,
        writable: role == Role::Primary && db_state == "Normal" && accepts,
        ..Observation::default()
    }
}

/// A server without a role of its own (`Normal`) takes writes like a primary.
fn role(name: &str) -> Role {
    match name {
        "Primary" | "Normal" => Role::Primary,
        "Standby" | "Cascade Standby" | "Main Standby" => Role::Standby,
        _ => Role::Unknown,
    }
}

/// The furthest of the two positions that a row begins with: `0/4005C28`, or with the term `(1,0/4005C28)`.
fn furthest(rows: &[Row]) -> Option<Lsn> {
    let position = |text: &str| {
        let text = text.trim().trim_matches(['(', ')']);
        Lsn::parse(text.rsplit(',').next()?.trim_matches('"'))
    };
    rows.first()?.iter().take(2).flatten().filter_map(|text| position(text)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> Vec<Row> {
        vec![cells.map(|cell| Some(cell.to_owned())).into()]
    }

    #[test]
    fn answers_are_read() {
        let cases = [
            (["Primary", "Normal", "Normal", "f", "off"], Role::Primary, "normal", true),
            (["Normal", "Normal", "Normal", "f", "off"], Role::Primary, "standalone", true),
            (["Primary", "Normal", "Normal", "f", "on"], Role::Primary, "read only", false),
            (["Primary", "Demoting", "Normal", "f", "off"], Role::Primary, "demoting", false),
            (["Primary", "Normal", "Normal", "t", "on"], Role::Primary, "read only", false),
            (["Standby", "Normal", "Normal", "t", "on"], Role::Standby, "normal", false),
            (["Standby", "Catchup", "Normal", "t", "on"], Role::Standby, "catchup", false),
            (["Cascade Standby", "Normal", "Normal", "t", "on"], Role::Standby, "normal", false),
            (["Standby", "Promoting", "Normal", "t", "on"], Role::Standby, "promoting", false),
            (
                ["Pending", "Need repair", "Disconnected", "t", "on"],
                Role::Unknown,
                "pending",
                false,
            ),
            (
                ["Standby", "Need repair", "WAL segment removed", "t", "on"],
                Role::Standby,
                "need repair: wal segment removed",
                false,
            ),
        ];
        for (cells, role, state, writable) in cases {
            let seen = read(&row(cells));
            assert_eq!((seen.role, seen.state.as_str(), seen.writable), (role, state, writable));
        }
        assert_eq!(read(&[]).role, Role::Unknown);
    }

    #[test]
    fn positions_with_and_without_a_term() {
        assert_eq!(furthest(&row(["0/4005C28", "(1,0/4005C00)"])), Lsn::parse("0/4005C28"));
        assert_eq!(furthest(&row(["0/4005C28", "(1,0/5000000)"])), Lsn::parse("0/5000000"));
        assert_eq!(furthest(&row(["0/4005C28"])), Lsn::parse("0/4005C28"));
        assert_eq!(furthest(&[vec![None, Some("(7,1/2)".to_owned())]]), Lsn::parse("1/2"));
        assert_eq!(furthest(&[vec![None]]), None);
        assert_eq!(furthest(&row(["", "(,)"])), None);
    }
}
