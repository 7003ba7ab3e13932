//! Who receives a primary's log, and whom its commits wait for.
//!
//! Used by both drivers: the rows come from `pg_stat_replication`, the rest from the settings.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use ogha_common::units::Lsn;

use super::{Nodes, Peer};

/// A peer, as a primary sees it receive the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// The peer's name.
    pub peer: String,
    /// It receives the log as it is written.
    pub streaming: bool,
    /// No commit returns without its confirmation.
    pub waits: bool,
    /// `waits`, and it has confirmed all that was acknowledged before that was so: its position on
    /// disk has passed the end of the log at a moment when the setting was in force.
    pub confirmed: bool,
    /// Bytes of the log that it has not on disk yet; `None` if it has no connection.
    pub lag: Option<u64>,
    /// A word for people: `streaming`, `catchup`, `absent`, with a reason where there is one.
    pub state: String,
}

/// A row of `pg_stat_replication`, its words in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// What the standby calls itself.
    pub application_name: String,
    /// Where it comes from; `None` through a Unix socket.
    pub client: Option<IpAddr>,
    /// `streaming`, `catchup`, `startup`, `backup`, `stopping`.
    pub state: String,
    /// `async`, `potential`, `sync`, `quorum`.
    pub sync: String,
    /// What it has on disk.
    pub flush: Option<Lsn>,
}

impl Row {
    /// Whose it is: by its address, else by what it calls itself.
    pub fn peer<'a>(&self, nodes: &'a Nodes) -> Option<&'a Peer> {
        let client = self.client.map(|client| client.to_canonical());
        let at = |peer: &&Peer| peer.addresses.iter().any(|own| Some(own.to_canonical()) == client);
        let named = |peer: &&Peer| peer.name == self.application_name;
        nodes.peers.iter().find(at).or_else(|| nodes.peers.iter().find(named))
    }

    fn called(&self, name: &str) -> bool {
        // The server compares without regard to case.
        self.application_name.eq_ignore_ascii_case(name)
    }

    fn counts(&self) -> bool {
        matches!(self.sync.as_str(), "sync" | "quorum")
    }
}

/// What `synchronous_standby_names` means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    count: usize,
    names: Vec<String>,
}

impl Names {
    /// Reads `FIRST n (a, "b")`, `ANY n (..)`, `n (..)` or a bare list, which means the first of it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::default());
        }
        let Some((head, list)) = text.strip_suffix(')').and_then(|text| text.split_once('('))
        else {
            return Some(Self { count: 1, names: list(text)? });
        };
        // A quote before the parenthesis: it belongs to a name.
        if head.contains('"') {
            return Some(Self { count: 1, names: self::list(text)? });
        }
        let count = head.split_whitespace().last()?.parse().ok()?;
        Some(Self { count, names: self::list(list)? })
    }

    /// Whether no commit can return without the standby of that name: all that are listed must
    /// confirm, and it is one of them.
    fn demands(&self, row: &Row) -> bool {
        let any = self.names.iter().any(|name| name == "*");
        !any && self.count >= self.names.len() && self.names.iter().any(|name| row.called(name))
    }
}

fn list(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        if name.is_empty() {
            return None;
        }
        names.push(name);
        match after.trim_start().strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return after.trim().is_empty().then_some(names),
        }
    }
}

/// A name up to its closing quote, which a doubled one is not; and what follows.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// The value that makes commits wait for exactly these.
pub(super) fn demand(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let quoted: Vec<_> =
        names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    format!("FIRST {} ({})", names.len(), quoted.join(","))
}

/// What the named peers call themselves in the rows; a peer without one is called by its node.
///
/// # Errors
/// When a name would be another standby's as well, or a peer goes by several.
pub(super) fn application_names(
    wanted: &[String],
    nodes: &Nodes,
    rows: &[Row],
) -> anyhow::Result<Vec<String>> {
    let advice = "set application_name in primary_conninfo of each standby to its node's name \
                  (ogha does when it makes one follow or rejoin)";
    let mut names: Vec<String> = Vec::new();
    for node in wanted {
        let peer = nodes.peer(node)?;
        let own = |row: &&Row| row.state != "backup" && row.peer(nodes) == Some(peer);
        let called: HashSet<_> = rows.iter().filter(own).map(|row| &row.application_name).collect();
        let name = match called.len() {
            1 => called.into_iter().next().unwrap_or(node),
            n if n == 0 || called.contains(node) => node,
            _ => anyhow::bail!(
                "{node} has several connections for the log, called {called:?}: {advice}"
            ),
        };
        anyhow::ensure!(name != "*" && !name.is_empty(), "{node} calls itself {name:?}: {advice}");
        let stranger = rows.iter().any(|row| row.called(name) && row.peer(nodes) != Some(peer));
        let twice = names.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        anyhow::ensure!(
            !stranger && !twice,
            "{name:?} is what {node} and another standby call themselves, so commits cannot wait \
             for {node} alone: {advice}"
        );
        names.push(name.clone());
    }
    Ok(names)
}

/// The settings that decide whom commits wait for, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// `synchronous_standby_names`.
    pub names: String,
    /// Commits wait at all, as far as the server's other settings say.
    pub waits: bool,
    /// The server's main process: a new one begins anew.
    pub server: Option<u32>,
}

/// Remembers the end of the log at the first moment after a demand was seen to be in force.
#[derive(Debug, Default)]
pub(super) struct Confirmations(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    demand: Demand,
    settled: bool,
    mark: Option<Lsn>,
}

impl Confirmations {
    /// What the rows mean. `end` is the primary's end of the log, read with them; `settled` says that the demand is in force for all sessions, not only for the one that
    /// asks.
    pub fn look(
        &self,
        nodes: &Nodes,
        rows: &[Row],
        demand: Demand,
        end: Option<Lsn>,
        settled: bool,
    ) -> Vec<Replication> {
        let names = Names::parse(&demand.names).filter(|_| demand.waits).unwrap_or_default();
        let mark = self.mark(demand, end, settled);
        nodes.peers.iter().map(|peer| replication(peer, nodes, rows, &names, end, mark)).collect()
    }

    /// What is not a primary has nothing to be confirmed.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// One answer does not tell whether it read the end of the log before or after the demand came
    /// into force; the next one was asked after.
    fn mark(&self, demand: Demand, end: Option<Lsn>, settled: bool) -> Option<Lsn> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) if known.demand == demand => {
                if known.settled {
                    known.mark = known.mark.or(end);
                }
                known.settled |= settled;
                known.mark
            }
            other => {
                *other = Some(Known { demand, settled, mark: None });
                None
            }
        }
    }
}

fn replication(
    peer: &Peer,
    nodes: &Nodes,
    rows: &[Row],
    names: &Names,
    end: Option<Lsn>,
    mark: Option<Lsn>,
) -> Replication {
    let own = rows.iter().filter(|row| row.state != "backup" && row.peer(nodes) == Some(peer));
    let best = own.max_by_key(|row| (row.state == "streaming", row.counts(), row.flush));
    let Some(row) = best else {
        return Replication {
            peer: peer.name.clone(),
            streaming: false,
            waits: false,
            confirmed: false,
            lag: None,
            state: "absent".to_owned(),
        };
    };
    let streaming = row.state == "streaming";
    let shared = rows
        .iter()
        .any(|other| other.called(&row.application_name) && other.peer(nodes) != Some(peer));
    let waits = streaming && row.counts() && names.demands(row) && !shared;
    let passed = row.flush.zip(mark).is_some_and(|(flush, mark)| flush >= mark);
    let note = if shared { ", shares its application_name" } else { "" };
    Replication {
        peer: peer.name.clone(),
        streaming,
        waits,
        confirmed: waits && passed,
        lag: row.flush.zip(end).map(|(flush, end)| flush.behind(end)),
        state: format!("{}{note}", row.state),
    }
}

#[cfg(test)]
#[path = "replication_tests.rs"]
mod tests;
