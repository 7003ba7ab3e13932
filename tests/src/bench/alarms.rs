//! What a pair has made of its databases: what must not be where nothing fails.

use anyhow::Result;

use crate::lab::Pair;

/// What an agent logs when it finds the database beside it hung.
pub const HUNG: &str = "the database here is hung";
/// What it logs of a suspicion that lasts.
const SUSPECT: &str = "the database here is suspect";

/// What there was so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Databases found hung.
    pub hung: usize,
    /// Lasting suspicions, which are no reason to act.
    pub suspect: usize,
    /// Terms: each failover begins one.
    pub term: u64,
}

impl Alarms {
    /// By the logs and the state of both nodes.
    ///
    /// # Errors
    /// If an agent does not answer.
    pub fn of(pair: &Pair) -> Result<Self> {
        let mut found = Self::default();
        for node in &pair.nodes {
            let log = node.agent.log();
            found.hung += log.matches(HUNG).count();
            found.suspect += log.matches(SUSPECT).count();
            let term = node.agent.instance()?["term"].as_u64().unwrap_or_default();
            found.term = found.term.max(term);
        }
        Ok(found)
    }

    /// What has come since then.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            hung: self.hung - before.hung,
            suspect: self.suspect - before.suspect,
            term: self.term - before.term,
        }
    }
}
