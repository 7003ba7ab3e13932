//! What an observation of the database means.

use ogha_common::{
    failover::{Core, Database, PhaseName, Primary},
    units::{Lsn, NodeId},
};

use super::{pace::Pace, peer::Peer, peers::Peers};
use crate::database::{Observation, Process, Replication, Role};

/// The observation as the core needs it.
pub fn database(seen: &Observation, peers: &Peers, pace: &Pace, asynchronous: bool) -> Database {
    let lsn = seen.lsn.unwrap_or_default();
    match (seen.role, seen.process) {
        (Role::Standby, _) => Database::Standby { lsn, receives: receives(seen, peers) },
        (Role::Primary, _) => Database::Primary(primary(seen, peers, pace, asynchronous)),
        (Role::Unknown, Process::Running(_)) => Database::Unresponsive,
        (Role::Unknown, Process::Gone) => Database::Stopped,
        (Role::Unknown, Process::Unknown) => Database::Unknown,
    }
}

/// What could not be observed of the process is as it was; an answer by SQL proves that it lives.
pub fn known(mut seen: Observation, before: &Observation) -> Observation {
    if seen.process == Process::Unknown && seen.role != Role::Unknown {
        seen.process = before.process;
    }
    seen
}

/// Without synchronous replication whoever receives is as good as can be asked for.
fn primary(seen: &Observation, peers: &Peers, pace: &Pace, asynchronous: bool) -> Primary {
    let set = |which: &dyn Fn(&Replication) -> bool| {
        let found = seen.replication.iter().filter(|peer| which(peer));
        peers.set(found.map(|peer| peer.peer.as_str()).collect())
    };
    Primary {
        writable: seen.writable,
        lsn: seen.lsn.unwrap_or_default(),
        streaming: set(&|peer| {
            peer.streaming && (asynchronous || pace.keeps_up(seen.lsn, peer.lag))
        }),
        awaited: set(&|peer| peer.awaited || asynchronous),
        confirmed: set(&|peer| peer.confirmed || asynchronous && peer.streaming),
    }
}

/// Whether the walreceiver streams from a primary that lives. It says "streaming" for a minute after its
/// primary has lost power, so the port must answer too.
fn receives(seen: &Observation, peers: &Peers) -> bool {
    let upstream = seen.upstream.as_ref().filter(|upstream| upstream.streaming);
    upstream.and_then(|upstream| upstream.peer.as_deref()).is_some_and(|name| {
        let lives = |peer: &Peer| peer.database_answers() && peer.listening() != Some(false);
        peers.list.iter().any(|peer| peer.name == name && lives(peer))
    })
}

/// Where a primary's WAL ends; `None`: it is no primary.
pub fn end_of_wal(seen: &Observation) -> Option<Lsn> {
    seen.lsn.filter(|_| seen.role == Role::Primary)
}

/// Whether the observation was under way as the main process that it saw died: `died` was seen to.
/// `gone`: whether that process certainly is not the database's, now.
pub fn is_of_the_dead(seen: &Observation, died: Option<u32>, gone: impl Fn(u32) -> bool) -> bool {
    seen.process.pid().is_some_and(|pid| died == Some(pid) && gone(pid))
}

/// A database that is down, and whose role another node has, must not come up writable: it is disarmed,
/// once each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disarm {
    done: bool,
}

impl Disarm {
    /// Whether it is to be disarmed now. `own` is this node; `has_server`: there is a database that
    /// could be.
    pub fn is_due(
        &mut self,
        core: &Core,
        own: NodeId,
        has_server: bool,
        seen: &Observation,
    ) -> bool {
        let deposed = core.record().is_some_and(|record| record.primary != own);
        let fenced = core.phase() == PhaseName::Fenced;
        let down = has_server && seen.process == Process::Gone;
        let wanted = deposed && fenced && down;
        let first = wanted && !self.done;
        self.done = wanted;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_of_a_process_that_died_since_says_nothing() {
        let seen = |process| Observation { process, ..Observation::default() };
        let (seven, eight) = (seen(Process::Running(7)), seen(Process::Running(8)));
        assert!(is_of_the_dead(&seven, Some(7), |_| true));
        assert!(!is_of_the_dead(&seven, Some(7), |_| false), "the number was used again");
        assert!(!is_of_the_dead(&eight, Some(7), |_| true));
        assert!(!is_of_the_dead(&seven, None, |_| true));
        for process in [Process::Gone, Process::Unknown] {
            assert!(!is_of_the_dead(&seen(process), Some(7), |_| true));
        }
    }
}
