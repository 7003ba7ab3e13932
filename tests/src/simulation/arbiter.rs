//! The arbiter: a store that holds the record, or addresses that answer.

use ogha_common::failover::{Record, Ruling};

/// One key, changed by compare-and-swap, and all that ever stood there.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// What stands.
    pub record: Option<Record>,
    /// All that has stood there, oldest first.
    pub history: Vec<Record>,
}

impl Store {
    /// A store in which that stands.
    pub fn new(record: Option<Record>) -> Self {
        Self { record, history: record.into_iter().collect() }
    }

    /// Compare and swap: the proposed record takes the place of the one of the term before.
    pub fn propose(&mut self, proposed: Record) -> Ruling {
        let fits = match self.record {
            Some(stands) => stands.term.next() == proposed.term,
            None => true,
        };
        if fits {
            self.record = Some(proposed);
            self.history.push(proposed);
        }
        if self.record == Some(proposed) {
            Ruling::Granted(proposed.term)
        } else {
            Ruling::Refused { term: proposed.term, record: self.record }
        }
    }
}
