//! The database beside the agent: what it is, and what is done to it.
//!
//! The loop reads [`Observation`]s and asks for [`Step`]s; nothing here decides. Each call has its
//! own deadline, so that a hung database never hangs the agent. Futures may be dropped at any
//! point: what they started is then stopped and cleaned up (a promotion that is given up must not
//! happen an hour later).
//!
//! No password is needed: the agent speaks SQL over the database's Unix socket as the database's
//! own user, and sends signals.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use futures_util::future::BoxFuture;
use ogha_common::units::Lsn;
pub use ogha_common::wire::probe::Role;
use tokio::sync::watch;

mod account;
mod awaiting;
mod commits;
pub mod conninfo;
pub mod control;
mod identity;
mod kept;
mod layout;
mod local;
mod login;
mod lost;
mod main_process;
pub mod opengauss;
pub mod ping;
mod plan;
pub mod postgresql;
pub mod process;
mod progress;
mod promotion;
pub mod replication;
mod settings;
mod socket;
pub mod sql;
mod standby_names;
mod stop;
mod unit;
pub mod vitals;
mod write;

use crate::guest::files;
pub use crate::guest::pidfile;
pub use kept::Kept;
pub use lost::Lost;
pub use plan::{Plan, Way};
pub use postgresql::{Access, Decides, Login, Reach, Rule};
pub use progress::Progress;
pub use replication::Replication;
pub use settings::settings;
pub use unit::Unit;
pub use write::Written;

/// One database, seen by the agent of its node.
pub trait Database: Send + Sync {
    /// The word of the configuration: `postgresql`, `opengauss` or `none`.
    fn kind(&self) -> &'static str;

    /// What the database is now. Takes at most [`sql::DEADLINE`] and never fails: what could not be
    /// learnt is `Unknown` or `None`, and the reason is in [`Observation::error`].
    fn observe(&self) -> BoxFuture<'_, Observation>;

    /// Whether it accepts writes now: one round trip on a connection that is already open, for the
    /// loop that waits for a promotion. `false` when it cannot be learnt.
    fn writable(&self) -> BoxFuture<'_, bool>;

    /// Takes a step and waits for its outcome. `Ok` says that the step's effect was seen, not that
    /// a command returned.
    fn perform(&self, step: Step) -> BoxFuture<'_, anyhow::Result<()>>;

    /// Writes something that must be flushed here and nowhere else, and waits for it as long as it takes.
    /// Never on a standby.
    fn write(&self) -> BoxFuture<'_, Written> {
        Box::pin(async { Written::Unsupported })
    }

    /// What is known of [`Database::write`] while it is under way.
    fn writing(&self) -> vitals::Writing {
        vitals::Writing::default()
    }

    /// How far the last [`Step::Rejoin`] is; `None` before the first. What it will cost stands
    /// there before it is done.
    fn progress(&self) -> watch::Receiver<Option<Progress>> {
        watch::channel(None).1
    }
}

/// What the agent may do to a database. Peers are called by their node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the standby a primary. Done when it was seen to accept writes; given up, and taken
    /// back as far as the database allows, after a minute.
    Promote,
    /// Stop it without a checkpoint, so that no write is acknowledged any more. Done when no
    /// process of it is left; what does not stop by itself is killed.
    StopImmediate,
    /// Write a checkpoint, so that [`Step::Demote`] is short. Takes minutes on a busy primary.
    Checkpoint,
    /// Stop it in order: its standbys receive all of its log. Done when its control file says
    /// "shut down". An error if it has not ended within this time; an immediate shutdown follows then.
    Demote(Duration),
    /// Make sure that it does not come up writable whoever starts it, for its role is lost. Works
    /// on a stopped server, and on one that does not die. [`Step::Start`] and [`Step::Rejoin`]
    /// take it back.
    Disarm,
    /// Start it as what it was, in a session of its own, so that it outlives the agent. Done when
    /// it answers SQL; an error if it does not within this time, or ends.
    Start(Duration),
    /// Let commits wait for exactly these peers, for nobody if there are none. Done when that is in
    /// force. On a standby it is for the time after its promotion.
    Synchronize(Vec<String>),
    /// Let a running standby receive the log from this peer. Done when it was seen to stream.
    Follow(String),
    /// Make it a standby of this peer, whatever it is now, by the cheapest way that works. Done
    /// when it was seen to stream. May take hours; see [`Database::progress`].
    Rejoin(String),
    /// What the database's own tools want after a failover (openGauss: `gs_om -t refreshconf`).
    /// Takes minutes and fails while the peer is down: never wait for it, and try again later.
    AfterFailover,
}

/// Another node, as the driver needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its `node.name`.
    pub name: String,
    /// Its own addresses, one for each path to it.
    pub addresses: Vec<IpAddr>,
    /// The TCP port of its database.
    pub port: u16,
}

/// Who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// This node's name.
    pub own: String,
    /// The others.
    pub peers: Vec<Peer>,
}

impl Nodes {
    /// The peer of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn peer(&self, name: &str) -> anyhow::Result<&Peer> {
        let peer = self.peers.iter().find(|peer| peer.name == name);
        peer.with_context(|| format!("there is no peer {name:?} in the configuration"))
    }
}

/// The main process of a database, as far as one observation could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Process {
    /// It could not be observed, for [`Observation::error`]. Never to be read as dead.
    #[default]
    Unknown,
    /// None runs: known for sure.
    Gone,
    /// This one lives.
    Running(u32),
}

impl Process {
    /// Its number, if it is known to live.
    #[must_use]
    pub const fn pid(self) -> Option<u32> {
        match self {
            Self::Running(pid) => Some(pid),
            Self::Unknown | Self::Gone => None,
        }
    }
}

/// What was seen of a database at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// By SQL alone; `Unknown` where SQL did not answer.
    pub role: Role,
    /// A word for people: `normal`, `starting`, `shutting down`, `recovery`, `login refused`,
    /// `unreachable`, `unknown`, `stopped` (only if the process is gone), or the database's own
    /// (`need repair: disconnected`).
    pub state: String,
    /// Seen by SQL to accept writes.
    pub writable: bool,
    /// A primary's end of the log on disk; what a standby has received or replayed, whichever is
    /// further. `None` when not known.
    pub lsn: Option<Lsn>,
    /// The main process. An answer by SQL proves that it lives: `Gone` comes never with a role.
    pub process: Process,
    /// The timeline: of what a primary writes, or a standby receives. openGauss has but one.
    pub timeline: Option<u32>,
    /// On a primary: each peer of the configuration, in its order.
    pub replication: Vec<Replication>,
    /// On a standby that has a connection to receive the log: to whom.
    pub upstream: Option<Upstream>,
    /// What all copies of one database have in common, and no other has.
    pub system_identifier: Option<u64>,
    /// The server itself has answered, be it by a refusal.
    pub answers: bool,
    /// Why something above is not known.
    pub error: Option<String>,
}

/// Whom a standby receives the log from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The peer's name, if its address or host name is a peer's.
    pub peer: Option<String>,
    /// The address or host name, as the server shows it.
    pub host: String,
    /// Whether it receives now.
    pub streaming: bool,
}

/// A PostgreSQL or openGauss server on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The port that clients use; it also names the Unix socket.
    pub port: u16,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The operating system's user that owns it, and the database's user of the same name.
    pub user: String,
    /// Where `pg_ctl`, or `gs_ctl` and `gs_om`, are; else they are looked for.
    pub bin_dir: Option<PathBuf>,
    /// Where the Unix socket is; else `postmaster.pid` tells.
    pub socket_dir: Option<PathBuf>,
    /// The database to connect to.
    pub dbname: String,
    /// The service of systemd that starts and stops it; else `pg_ctl` does.
    pub unit: Option<Unit>,
}

/// What the guard did before a server's start. See [`guard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// There is nothing to start.
    NoDatabase,
    /// A server of that kind has no guard.
    Unsupported,
    /// It is a standby.
    Standby,
    /// The agent has ordered this start.
    Ordered,
    /// It may be primary.
    Primary,
    /// It was to come up writable, and is a standby now.
    Fenced,
}

/// Which driver, and what it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// No database: a virtual address for any service. There is no driver.
    None {
        /// The service's port, if it is known: its traffic is counted, its listener watched.
        port: Option<u16>,
    },
    /// PostgreSQL.
    Postgresql(Server),
    /// openGauss.
    Opengauss(Server),
}

/// Opens the driver: looks the user up and reads its login environment once (which may take a
/// second, and is why this is not done when it is needed). The database may be down.
///
/// # Errors
/// When the user does not exist on this host, or when there is no database.
pub async fn open(kind: &DatabaseKind, nodes: Nodes) -> anyhow::Result<Arc<dyn Database>> {
    Ok(match kind {
        DatabaseKind::None { .. } => bail!("kind = \"none\": there is no database to open"),
        DatabaseKind::Postgresql(server) => Arc::new(
            postgresql::Postgresql::open(server, nodes).await.context("opening PostgreSQL")?,
        ),
        DatabaseKind::Opengauss(server) => {
            Arc::new(opengauss::Opengauss::open(server, nodes).await.context("opening openGauss")?)
        }
    })
}

/// To be called before a server is started by others than the agent: one that would come up writable
/// becomes a standby, unless the agent has ordered the start, or `primary` says that no other node can
/// be primary.
///
/// # Errors
/// If that cannot be made sure. Then the server must not start.
pub async fn guard(kind: &DatabaseKind, primary: impl FnOnce() -> bool) -> anyhow::Result<Guarded> {
    match kind {
        DatabaseKind::None { .. } => Ok(Guarded::NoDatabase),
        DatabaseKind::Opengauss(_) => Ok(Guarded::Unsupported),
        DatabaseKind::Postgresql(server) => {
            let local = local::Local::open(server, &[]).await?;
            postgresql::guard(&local, primary).await
        }
    }
}

/// What a rejoin to that peer would do, found out without changing anything.
///
/// # Errors
/// When not even the data directory can be looked at, or there is no database.
pub async fn plan(kind: &DatabaseKind, nodes: Nodes, peer: &str) -> anyhow::Result<Plan> {
    match kind {
        DatabaseKind::None { .. } => bail!("kind = \"none\": there is no database to rejoin"),
        DatabaseKind::Postgresql(server) => {
            postgresql::Postgresql::open(server, nodes).await?.plan(peer).await
        }
        DatabaseKind::Opengauss(server) => {
            opengauss::Opengauss::open(server, nodes).await?.plan(peer).await
        }
    }
}

/// What earlier rejoins have kept beside the data directory.
///
/// # Errors
/// When the directory above cannot be read as the database's user.
pub async fn kept(kind: &DatabaseKind) -> anyhow::Result<Vec<Kept>> {
    let (DatabaseKind::Postgresql(server) | DatabaseKind::Opengauss(server)) = kind else {
        return Ok(Vec::new());
    };
    let local = local::Local::open(server, &[]).await?;
    let data_dir = server.data_dir.clone();
    local.act(move || kept::beside(&files::real(&data_dir))).await
}

/// What `doctor` asks beside an observation.
#[derive(Debug)]
pub struct Inquiry {
    /// Who is let in here.
    pub access: anyhow::Result<Access>,
    /// As which user a rejoin logs in at the peers, and so at this node.
    pub user: anyhow::Result<String>,
    /// What it meets at each peer.
    pub reached: Vec<(String, anyhow::Result<Reach>)>,
}

/// Asks it, and changes nothing; `None` for a kind that has no such files. It logs in at the peers.
///
/// # Errors
/// When the user does not exist on this host.
pub async fn inquire(kind: &DatabaseKind, nodes: Nodes) -> anyhow::Result<Option<Inquiry>> {
    let DatabaseKind::Postgresql(server) = kind else { return Ok(None) };
    let peers: Vec<_> = nodes.peers.iter().map(|peer| peer.name.clone()).collect();
    let driver = postgresql::Postgresql::open(server, nodes).await?;
    let mut reached = Vec::new();
    for peer in peers {
        let outcome = driver.reach(&peer).await;
        reached.push((peer, outcome));
    }
    Ok(Some(Inquiry { access: driver.access().await, user: driver.rejoins_as().await, reached }))
}
