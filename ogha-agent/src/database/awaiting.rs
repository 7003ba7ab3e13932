//! Which peers are awaited: what one observation says, with what was known from those before.
//!
//! The rule where rows are in doubt: a row from another address with a peer's name may confirm in
//! its place, so the peer is not awaited. Of two rows from the peer's own address with one name the
//! older belongs to a broken connection if for a second nothing came from it while the newer one has
//! confirmed more; until then it may be another program, and the peer is not awaited.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ogha_common::units::Lsn;

use super::{
    Nodes, Peer,
    commits::{Commits, Refusal},
    replication::{Replication, Row},
    standby_names::Names,
};

/// How long a connection must have been silent to be taken for a broken one.
const SILENT: Duration = Duration::from_secs(1);

/// One answer of a primary.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    /// The rows of `pg_stat_replication`.
    pub rows: &'a [Row],
    /// The settings in force.
    pub commits: Commits,
    /// The end of its WAL on disk.
    pub end: Option<Lsn>,
    /// As far as can be told, the settings are in force for all sessions, not only for the one
    /// that asks.
    pub settled: bool,
    /// When it was asked.
    pub asked: Instant,
    /// When it answered.
    pub came: Instant,
}

/// What the answers so far have shown.
#[derive(Debug, Default)]
pub(super) struct Awaiting(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    commits: Commits,
    /// When these settings were first seen.
    since: Option<Instant>,
    /// They are in force for all sessions.
    settled: bool,
    connections: HashMap<String, Connection>,
    peers: HashMap<String, Known>,
}

/// A connection for WAL.
#[derive(Debug)]
struct Connection {
    first: Instant,
    /// What its far end has said, and when that was last something new.
    said: (Option<Lsn>, Option<String>),
    at: Instant,
}

/// A peer.
#[derive(Debug, Default)]
struct Known {
    /// What it calls itself, or last did.
    name: Option<String>,
    /// Who else has that name.
    shared: Option<String>,
    /// Since when it is awaited.
    since: Option<Instant>,
    /// The end of WAL at a moment when it was.
    mark: Option<Lsn>,
}

impl Awaiting {
    /// What the answer means for each peer.
    pub fn observe_once(&self, nodes: &Nodes, answer: &Answer<'_>) -> Vec<Replication> {
        let mut memory = self.memory();
        memory.note(answer);
        nodes.peers.iter().map(|peer| memory.replication(peer, nodes, answer)).collect()
    }

    /// What is not a primary awaits nobody.
    pub fn forget(&self) {
        *self.memory() = Memory::default();
    }

    /// Whether the server's own setting, which ogha may write, lets the commits of all return at once.
    pub fn releases_all(&self) -> bool {
        matches!(self.memory().commits.refusal, Some(Refusal::Server(_)))
    }

    /// Why the commits of some session wait for nobody.
    pub fn refusal(&self) -> Option<Refusal> {
        self.memory().commits.refusal.clone()
    }

    /// What the wanted peers call themselves, or did before their connection was lost; a peer that
    /// had none is called by its node.
    ///
    /// # Errors
    /// When a name is another's as well.
    pub fn names(&self, wanted: &[String], nodes: &Nodes) -> anyhow::Result<Vec<String>> {
        const ADVICE: &str = "set application_name in primary_conninfo of each standby to its \
            node's name (ogha does when it makes one follow or rejoin)";
        let memory = self.memory();
        let mut names: Vec<String> = Vec::new();
        for node in wanted {
            let peer = nodes.peer(node)?;
            let known = memory.peers.get(&peer.name);
            let name = known.and_then(|known| known.name.as_ref()).unwrap_or(&peer.name);
            anyhow::ensure!(
                name != "*" && !name.is_empty(),
                "{node} calls itself {name:?}, so commits cannot wait for it by name: {ADVICE}"
            );
            if let Some(shared) = known.and_then(|known| known.shared.as_ref()) {
                anyhow::bail!("commits cannot wait for {node} alone: {shared}; {ADVICE}");
            }
            anyhow::ensure!(
                !names.iter().any(|taken| taken.eq_ignore_ascii_case(name)),
                "commits cannot wait for {node} alone: another peer is called {name:?} as well; \
                 {ADVICE}"
            );
            names.push(name.clone());
        }
        Ok(names)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn note(&mut self, answer: &Answer<'_>) {
        if self.since.is_none() || self.commits != answer.commits {
            if self.commits.server != answer.commits.server {
                self.connections.clear();
            }
            self.commits = answer.commits.clone();
            self.since = Some(answer.came);
            self.settled = false;
        } else if self.since.is_some_and(|since| answer.asked >= since) {
            // One answer does not tell whether the others knew of the settings when it was made.
            self.settled |= answer.settled;
        }
        self.connections.retain(|pid, _| answer.rows.iter().any(|row| row.pid == *pid));
        for row in answer.rows {
            let said = (row.flush, row.replied.clone());
            let new = || Connection { first: answer.came, said: said.clone(), at: answer.came };
            let connection = self.connections.entry(row.pid.clone()).or_insert_with(new);
            if connection.said != said {
                connection.said = said;
                connection.at = answer.came;
            }
        }
    }

    /// Whether a row belongs to a connection that is broken and lingers.
    fn is_silent(&self, row: &Row, own: &[&Row], now: Instant) -> bool {
        let Some(connection) = self.connections.get(&row.pid) else { return false };
        own.iter().any(|newer| {
            let since = self.connections.get(&newer.pid).map(|newer| newer.first);
            let since = since.map_or(now, |first| first.max(connection.at));
            newer.began > row.began
                && newer.flush > row.flush
                && now.saturating_duration_since(since) >= SILENT
        })
    }

    fn replication(&mut self, peer: &Peer, nodes: &Nodes, answer: &Answer<'_>) -> Replication {
        let names = Names::parse(&answer.commits.names);
        let counted = || answer.rows.iter().filter(|row| row.may_count());
        let own: Vec<_> = counted().filter(|row| row.peer(nodes) == Some(peer)).collect();
        let silent = |row: &Row| self.is_silent(row, &own, answer.came);
        let living: Vec<&Row> = own.iter().copied().filter(|row| !silent(row)).collect();
        let current = current(&living, peer, names.as_ref());
        let known = self.peers.get(&peer.name);
        let had = known.and_then(|known| known.name.clone()).unwrap_or_else(|| peer.name.clone());
        let name = current.map_or(had, |row| row.application_name.clone());
        let foreign = counted().filter(|row| row.peer(nodes) != Some(peer));
        let mut others = living.iter().copied().chain(foreign);
        let other = others
            .find(|row| row.called(&name) && current.is_none_or(|current| current.pid != row.pid));
        let shared = other.map(|other| shared(other, &name, peer, nodes));
        let reason = self.reason(names.as_ref(), &name, shared.as_deref(), current);
        let waits = names.as_ref().is_none_or(|names| !names.is_empty());
        let awaited = waits && reason.is_none();
        let known = self.peers.entry(peer.name.clone()).or_default();
        if current.is_some() {
            known.name = Some(name);
        }
        known.shared = shared;
        let mark = known.mark(awaited, answer);
        let flush = current.and_then(|row| row.flush);
        let reason = reason.filter(|_| waits);
        Replication {
            peer: peer.name.clone(),
            streaming: current.is_some_and(|row| row.state == "streaming"),
            awaited,
            confirmed: awaited && flush.zip(mark).is_some_and(|(flush, mark)| flush >= mark),
            lag: flush.zip(answer.end).map(|(flush, end)| flush.behind(end)),
            state: state(current, reason.as_deref(), known.shared.as_deref()),
        }
    }

    /// Why a commit may return without the peer, which has that name.
    fn reason(
        &self,
        names: Option<&Names>,
        name: &str,
        shared: Option<&str>,
        current: Option<&Row>,
    ) -> Option<String> {
        if let Some(refusal) = &self.commits.refusal {
            return Some(refusal.to_string());
        }
        let Some(names) = names else {
            return Some("synchronous_standby_names cannot be read".to_owned());
        };
        if !names.lists(name) {
            return Some(format!("synchronous_standby_names does not name {name:?}"));
        }
        if !names.is_strict() {
            return Some("synchronous_standby_names lets another confirm in its place".to_owned());
        }
        if let Some(shared) = shared {
            return Some(shared.to_owned());
        }
        // One that has confirmed nothing yet is called `async`, whatever is set.
        let speaks = current.filter(|row| row.state == "streaming" && row.flush.is_some());
        if let Some(row) = speaks.filter(|row| !row.counts()) {
            return Some(format!("the server calls it {}", row.sync));
        }
        let settled = self.settled;
        (!settled).then(|| "the settings are not known to be in force for all sessions".to_owned())
    }
}

impl Known {
    /// One answer does not tell whether the end of WAL was read before or after the peer began to be
    /// awaited; the next one was asked after.
    fn mark(&mut self, awaited: bool, answer: &Answer<'_>) -> Option<Lsn> {
        if !awaited {
            (self.since, self.mark) = (None, None);
        } else if answer.asked >= *self.since.get_or_insert(answer.came) {
            self.mark = self.mark.or(answer.end);
        }
        self.mark
    }
}

/// The peer's own connection among those from its address: the newest standby, but rather one that
/// the setting names, or that is called by its node.
fn current<'a>(living: &[&'a Row], peer: &Peer, names: Option<&Names>) -> Option<&'a Row> {
    let listed = |row: &Row| names.is_some_and(|names| names.lists(&row.application_name));
    let standbys = living.iter().filter(|row| row.replays || row.flush.is_none());
    standbys.copied().max_by_key(|row| (listed(row), row.called(&peer.name), row.began))
}

fn shared(other: &Row, name: &str, peer: &Peer, nodes: &Nodes) -> String {
    let place = other.place();
    if other.peer(nodes) != Some(peer) {
        format!("a standby at {place} calls itself {name:?}")
    } else if other.replays || other.flush.is_none() {
        format!("two connections from {place} are called {name:?}")
    } else {
        format!("what only keeps WAL at {place} is called {name:?} as well")
    }
}

fn state(current: Option<&Row>, reason: Option<&str>, shared: Option<&str>) -> String {
    let word = current.map_or("absent", |row| &row.state);
    match (reason, shared) {
        (Some(reason), _) => format!("{word}; commits do not wait for it: {reason}"),
        // Perhaps it is the peer itself, whose address is not in the configuration.
        (None, Some(shared)) => format!("{word}; {shared}"),
        (None, None) => word.to_owned(),
    }
}
