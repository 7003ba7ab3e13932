//! What must hold, whatever happens.
//!
//! Exempt is what no such arbiter can give: with `gateway`, two nodes that both reach the addresses and not
//! each other; with `none`, any silence of a node that lives. In runs with these two arbiters
//! that cut, lose or delay packets two gates may be open, and what the one acknowledged may be lost.
//! Force by an operator, and asynchronous replication, may lose writes; two gates they may not open.

use ogha_common::{
    failover::{Arbiter, Cause, PhaseName},
    maps::{GATE_CLOSED, Gate, Passage},
};

use super::{
    MAX,
    clock::MS,
    faults::Fault,
    plan::{Plan, Violation},
    world::World,
};

/// How long ago a database may have been seen to accept writes when its gate opens.
const SEEN_WRITABLE: u64 = 2500 * MS;

/// So many orders and questions in a second are a loop.
const MOST_A_SECOND: u32 = 60;
/// How long it may take to set right what somebody has changed by hand.
const BY_HAND: u64 = 3000 * MS;
/// A database that was started or promoted a moment ago may be stopped: what died before is fenced.
const JUST_STARTED: u64 = 3000 * MS;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Writes that were acknowledged, with the length of the log up to them.
    pub acknowledged: Vec<(usize, u32)>,
    /// The first thing that must not be.
    pub violation: Option<Violation>,
    /// Whose gates were open.
    open: [bool; MAX],
    /// Somebody has forced a node.
    pub forced: bool,
    /// Since when commits may not wait for whom they should, for somebody has changed that by hand.
    pub by_hand: [Option<u64>; MAX],
    /// In which second how much was ordered or asked.
    pub pace: [(u64, u32); MAX],
    /// When all faults were over.
    pub healed_at: u64,
}

impl Plan {
    /// Whether its arbiter cannot decide what happens in it.
    pub fn is_beyond_its_arbiter(&self) -> bool {
        let silent = |fault: Fault| match fault {
            Fault::Loss(_) | Fault::HostFrozen(_) => true,
            // What is no later than the next probe makes nobody silent.
            Fault::Delay(ms) => ms > self.setting.probe_ms / 2,
            fault => fault.is_cut(),
        };
        self.setting.arbiter != Arbiter::Etcd && self.faults.iter().any(|timed| silent(timed.fault))
    }
}

impl World {
    /// After each event: who is open, and with what.
    pub fn check_gates(&mut self) {
        let nodes = self.nodes.len();
        let mut count = 0;
        for node in 0..nodes {
            let open = self.is_open(node);
            let just_thawed = self.is_just_thawed(node);
            // One that was paused may believe in its lease for the rest of it.
            count += usize::from(open && !just_thawed);
            if open && !self.ledger.open[node] {
                self.note(|| format!("{}'s gate is open", super::plan::NAMES[node]));
                if !just_thawed {
                    self.check_log(node);
                }
            } else if !open && self.ledger.open[node] {
                self.note(|| format!("{}'s gate is not open any more", super::plan::NAMES[node]));
            }
            self.ledger.open[node] = open;
        }
        if count > 1 && !self.plan.is_beyond_its_arbiter() {
            let open = (0..nodes).filter(|&node| self.ledger.open[node]).collect();
            self.violated(Violation::TwoGates(open));
        }
    }

    fn is_just_thawed(&self, node: usize) -> bool {
        let lease = self.plan.setting.lease_ms * MS * 1002 / 1000;
        self.nodes[node].thawed_at.is_some_and(|at| self.now < at + lease)
    }

    /// Whoever serves has all that was acknowledged.
    pub fn check_log(&mut self, node: usize) {
        let setting = &self.plan.setting;
        if setting.max_lag.is_some() || self.ledger.forced || self.plan.is_beyond_its_arbiter() {
            return;
        }
        let log = &self.nodes[node].database.log;
        let lost = |&&(end, write): &&(usize, u32)| log.get(end - 1) != Some(&write);
        if let Some(&(_, write)) = self.ledger.acknowledged.iter().find(lost) {
            self.violated(Violation::LostWrite(node, write));
        }
    }

    /// A gate is about to be opened.
    pub fn check_open(&mut self, node: usize, gate: &Gate) {
        let host = &self.nodes[node];
        let wrote = host.database.wrote_at;
        // The time of a pause is none for a host.
        let lately = |at: u64| self.now - at < SEEN_WRITABLE;
        let seen = wrote.is_some_and(lately) || host.thawed_at.is_some_and(lately);
        // An agent that hangs between decision and deed can't know; its lease goes on meanwhile.
        let decided = host.view.decided_at.get().ns();
        let at_once = host.local(self.now).saturating_sub(decided) < MS;
        if !seen && at_once && host.kernel.gate.state == GATE_CLOSED {
            self.violated(Violation::NotWritable(node));
        }
        // A lease that the peers grant may lapse, and come back when they grant again. One that lapses
        // between decision and deed was granted to the peers before that: none of them serves.
        let host = &self.nodes[node];
        let kernel = &host.kernel;
        let end = kernel.gate.lease_end_ns(&kernel.heard);
        // Where the arbiter has let this node go on alone, nobody else may be promoted.
        let alone = kernel.granters == [false; MAX]
            && kernel.granters_set_ns < end
            && self.plan.setting.arbiter == Arbiter::None;
        let same = host.kernel.gate.term == gate.term && host.kernel.gate.state == gate.state;
        let decided = host.view.decided_at.get().ns();
        if alone && same && host.kernel.passage(decided) == Passage::Lapsed {
            self.violated(Violation::Revived(node));
        }
    }

    /// A client writes: whose confirmation is waited for?
    pub fn check_commits(&mut self, node: usize) {
        let host = &self.nodes[node];
        let serves = host.view.phase.get() == Some(PhaseName::Serving);
        let Some(record) = host.view.record.get().filter(|_| serves) else { return };
        let names = self.set(&host.database.names);
        if self.plan.setting.max_lag.is_some() {
            return;
        }
        if !names.includes(&record.others())
            && self.ledger.by_hand[node].is_none_or(|at| self.is_late(node, at))
        {
            self.violated(Violation::NotWaiting(node));
        }
    }

    /// Whether what was changed by hand should have been found and set right by now.
    fn is_late(&self, node: usize, at: u64) -> bool {
        let hinders = |fault: Fault| {
            matches!(
                fault,
                Fault::ObservationsFail(at)
                    | Fault::ObservationsLate(at)
                    | Fault::OrdersFail(at)
                    | Fault::DatabaseHangs(at)
                    | Fault::CrashRecovery(at)
                    | Fault::AgentStalls(at)
                    | Fault::AgentStallsAtStep(at, ..)
                    | Fault::AgentDies(at)
                    | Fault::AgentStops(at)
                    | Fault::AgentDiesAtStep(at, ..)
                    | Fault::HostFrozen(at) if at == node
            )
        };
        self.now > at + BY_HAND && !self.plan.faults.iter().any(|timed| hinders(timed.fault))
    }

    /// A database is about to be stopped at once.
    pub fn check_stop(&mut self, node: usize) {
        let host = &self.nodes[node];
        let record = host.view.record.get();
        let named = record.is_none_or(|record| record.primary == self.ids[node]);
        let healthy = host.database.answers() && host.up;
        // It did not answer a moment ago; or it is the second primary of a split.
        let sentenced =
            matches!(host.view.cause.get(), Some(Cause::DatabaseHung | Cause::SplitBrain(_)));
        // One whose promotion or start was given up may be a primary in the next moment.
        let begun = host.ordered_at.unwrap_or_default().max(host.database.started_at);
        let settled = self.now.saturating_sub(begun) > JUST_STARTED;
        if healthy && settled && !sentenced && (named || !host.database.primary) {
            self.violated(Violation::Stopped(node));
        }
    }

    /// An agent has ordered or asked something: it must not do so as fast as it fails.
    pub fn check_pace(&mut self, node: usize) {
        let second = self.now / (1000 * MS);
        let (at, count) = &mut self.ledger.pace[node];
        *count = if *at == second { *count + 1 } else { 1 };
        *at = second;
        if *count > MOST_A_SECOND {
            self.violated(Violation::Floods(node));
        }
    }

    /// A node is about to be promoted.
    pub fn check_promotion(&mut self, node: usize) {
        if let Some(why) = self.objection(node) {
            self.violated(Violation::Promoted(node, why));
        }
    }

    fn objection(&self, node: usize) -> Option<&'static str> {
        let record = self.nodes[node].view.record.get();
        let Some(record) = record.filter(|r| r.primary == self.ids[node]) else {
            return Some("its record does not name it");
        };
        if self.has_store() {
            let Some(place) = self.store.history.iter().position(|stood| *stood == record) else {
                return Some("the arbiter has not granted its record");
            };
            let before = place.checked_sub(1).map(|place| self.store.history[place]);
            if !self.ledger.forced
                && before.is_some_and(|before| !before.in_sync.contains(self.ids[node]))
            {
                return Some("the record before does not count it in sync");
            }
        }
        if self.plan.is_beyond_its_arbiter() {
            return None;
        }
        let local = self.nodes[node].local(self.now);
        for (other, host) in self.nodes.iter().enumerate().filter(|&(other, _)| other != node) {
            if self.is_open(other) && !self.is_just_thawed(other) {
                return Some("another gate is open");
            }
            let granted = self.nodes[node].kernel.peers[other].promised_until_ns > local;
            if granted && host.kernel.gate.state != GATE_CLOSED && !self.ledger.forced {
                return Some("its lease grant to the other had not expired");
            }
        }
        None
    }
}
