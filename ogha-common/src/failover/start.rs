//! Start and stop: listen first, take up what the last agent left, hand over to the next.

use super::{
    Action, Cause, GateOrder, Lease, NodeSet, Order, Outcome, Phase, Record, Renewal, Role, Rule,
    core::{Core, Sink},
};
use crate::{
    election,
    units::{Instant, Term},
};

impl Core {
    /// A gate that is still open in the term of our record was ours a moment ago: go on without
    /// a gap. Otherwise listen.
    pub(super) fn start(
        &mut self,
        now: Instant,
        record: Option<Record>,
        open: Option<Term>,
        paused: bool,
        sink: Sink<'_>,
    ) {
        self.record = record;
        self.member = record.is_some();
        self.paused = paused;
        self.listening_since = now;
        self.drive_election(now, election::Input::Startup, sink);
        let ours = record.filter(|r| r.primary == self.config.node && Some(r.term) == open);
        if let Some(record) = ours {
            self.granters = self.wanted_granters(&record, None);
            self.inherited = self.has_register();
            self.drive_election(now, election::Input::Take, sink);
            let lease = if self.inherited {
                Lease { renew_at: Instant::from_ns(u64::MAX), until: now }
            } else {
                sink(Action::SetGranters(self.granters));
                self.set_gate(now, GateOrder::Open, sink)
            };
            sink(Action::HoldAddresses);
            self.phase = Phase::Serving(Renewal::new(now, lease));
        } else {
            self.set_gate(now, GateOrder::Close, sink);
            sink(Action::DropAddresses);
            self.phase = Phase::Listening { until: now + self.listening_time() };
        }
        if self.has_register() {
            sink(Action::Consult);
        }
        sink(Action::Publish);
        if !self.keeps(Rule::ListenFirst) && matches!(self.phase, Phase::Listening { .. }) {
            self.listened(now, sink);
        }
    }

    /// Long enough to hear whoever serves, and for any gate of an agent that died to lapse.
    pub(super) fn listening_time(&self) -> ::core::time::Duration {
        self.config.agent_timeout + self.config.margin()
    }

    /// Nobody was heard to serve while this node listened, or [`Core::hear`] says who does.
    pub(super) fn listened(&mut self, now: Instant, sink: Sink<'_>) {
        self.phase = Phase::Standby;
        sink(Action::Publish);
        if !self.config.database && self.election.is_active() {
            // Elected while it listened.
            self.take_over(now, now, Cause::Elected, None, sink);
        } else {
            self.bootstrap(now, sink);
        }
    }

    /// Serves where nobody does, and this node may.
    ///
    /// This is how a pair begins (no record yet), how a primary goes on after its host came
    /// back before anyone took over, and how a database that was restarted in place returns. Where
    /// the record names this node, its database is promoted if it is still a standby: the promotion
    /// failed, or the agent died before it.
    pub(super) fn bootstrap(&mut self, now: Instant, sink: Sink<'_>) {
        let may = self.is_unreplaced();
        if !self.config.database || !may || self.anyone_active(now) || !self.knows_the_others(now) {
            return;
        }
        if self.database.writable && self.database.role == Role::Primary {
            self.take_over(now, now, Cause::Bootstrap, None, sink);
        } else if self.is_named() && self.database.role == Role::Standby {
            self.take_over(now, now, Cause::Named, None, sink);
        }
    }

    /// Whether this node can know that none of those that might have been promoted was: it has
    /// heard them since it listens, or the arbiter has said so.
    fn knows_the_others(&self, now: Instant) -> bool {
        if self.has_register() {
            return self.consulted;
        }
        let fresh = now - self.config.agent_timeout;
        let since = self.listening_since.max(fresh);
        let heard = |node| self.view(node).is_some_and(|view| view.at >= since);
        self.record.is_none_or(|record| record.others().iter().all(heard))
            || !self.keeps(Rule::ListenFirst)
    }

    /// Whether a peer serves or takes over, or has a primary of its own where no register tells
    /// which of them counts.
    pub(super) fn anyone_active(&self, now: Instant) -> bool {
        let heard = self.heard.is_some_and(|heard| {
            // The kernel of one that has said that it does not serve answers too.
            let said = self.view(heard.node).and_then(|view| view.status);
            now.since(heard.at) < self.config.agent_timeout
                && said.is_none_or(|status| status.phase.serves_or_takes_over())
        });
        heard
            || self.peers.iter().flatten().filter(|view| self.speaks(now, view)).any(|view| {
                view.status.is_some_and(|status| {
                    status.phase.serves_or_takes_over()
                        || status.role == Role::Primary && !self.has_register()
                })
            })
    }

    /// The agent ends, in order to be started again: the gate stays as it is for another
    /// `agent_timeout`, which is also how long the peers bear with it.
    pub(super) fn stopping(&mut self, now: Instant, sink: Sink<'_>) {
        self.restarting = true;
        sink(Action::Publish);
        if let Phase::Serving(_) = self.phase {
            if self.renews_itself() {
                sink(Action::Renew { until: now + self.config.agent_timeout });
            }
        } else if self.holds_addresses() {
            self.set_gate(now, GateOrder::Close, sink);
            self.drive_election(now, election::Input::Release, sink);
            sink(Action::DropAddresses);
            sink(Action::End(Outcome::Fenced));
        }
    }

    /// The next record with this node as primary, and alone in the in-sync set: the others join as
    /// soon as they have everything. Where no register gives each term to one node, the old primary may
    /// just be writing the next one, with a change of the set: this one is above it.
    pub(super) fn next_record(&self) -> Record {
        let next = self.term().next();
        let leaves_one_out = !self.has_register() && !self.is_unreplaced();
        Record {
            term: if leaves_one_out { next.next() } else { next },
            primary: self.config.node,
            in_sync: NodeSet::of(self.config.node),
        }
    }

    /// A database that is not running, at a node that is to serve: started, if this node may do so.
    pub(super) fn start_database(&mut self, now: Instant, sink: Sink<'_>) {
        let may = self.config.database
            && self.config.restart_attempts > 0
            && self.is_named()
            && !self.is_paused()
            && !self.database.alive
            && !self.anyone_active(now);
        if may && self.returning.is_due(now) {
            self.returning.begin(now);
            sink(Action::Database(Order::Start));
        }
    }
}
