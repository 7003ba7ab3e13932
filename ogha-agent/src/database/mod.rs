//! The database beside the agent: what it is, and what is done to it.
//!
//! The loop reads [`Observation`]s and asks for [`Step`]s; nothing here decides. Each call has its
//! own deadline, so that a hung database never hangs the agent. Futures may be dropped at any
//! point: what they started is then stopped and cleaned up (a promotion that is given up must not
//! happen an hour later).
//!
//! No password is needed: the agent speaks SQL over the database's Unix socket as the database's
//! own user, and sends signals.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use ogha_common::units::Lsn;
pub use ogha_common::wire::probe::Role;

mod local;
mod login;
pub mod none;
pub mod opengauss;
pub mod pidfile;
pub mod ping;
pub mod postgresql;
pub mod process;
mod promotion;
pub mod receivers;
mod socket;
pub mod sql;
mod stop;

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
}

/// What the agent may do to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the standby a primary. Done when it was seen to accept writes; given up, and taken
    /// back as far as the database allows, after a minute.
    Promote,
    /// Stop it without a checkpoint, so that no write is acknowledged any more. Done when no
    /// process of it is left; what does not stop by itself is killed.
    StopImmediate,
    /// What the database's own tools want after a failover (openGauss: `gs_om -t refreshconf`).
    /// Takes minutes and fails while the peer is down: never wait for it, and try again later.
    AfterFailover,
}

/// What was seen of a database at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// By SQL. Where SQL did not answer but the main process lives, openGauss's state file is
    /// taken as a hint; `writable` stays false and `lsn` unknown then.
    pub role: Role,
    /// A word for people: `normal`, `starting`, `shutting down`, `recovery`, `unreachable`,
    /// `stopped`, or the database's own (`need repair: disconnected`).
    pub state: String,
    /// Seen by SQL to accept writes.
    pub writable: bool,
    /// A primary's end of the log on disk; what a standby has received or replayed, whichever is
    /// further. `None` when not known.
    pub lsn: Option<Lsn>,
    /// The main process, if it lives.
    pub main_pid: Option<u32>,
    /// Why something above is not known.
    pub error: Option<String>,
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
}

/// Which driver, and what it needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A VIP for any service, with a TCP check of a port on this host.
    None {
        /// The port to check, if any.
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
/// When the user does not exist on this host.
pub async fn open(kind: &Kind) -> anyhow::Result<Arc<dyn Database>> {
    Ok(match kind {
        Kind::None { port } => Arc::new(none::Service::new(*port)),
        Kind::Postgresql(server) => {
            Arc::new(postgresql::Postgresql::open(server).await.context("opening PostgreSQL")?)
        }
        Kind::Opengauss(server) => {
            Arc::new(opengauss::Opengauss::open(server).await.context("opening openGauss")?)
        }
    })
}
