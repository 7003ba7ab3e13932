//! Start and stop: listen first, take up what the last agent left, hand over to the next.

use super::{
    Action, Cause, GateOrder, NodeSet, Outcome, Record, Role,
    core::{Core, Phase, Renewal, Sink},
};
use crate::{
    election,
    units::{Instant, Term},
    wire::probe,
};

impl Core {
    /// A gate that is still open in the term of our record was ours a moment ago: go on without
    /// a gap. Otherwise listen.
    pub(super) fn start(
        &mut self,
        now: Instant,
        record: Option<Record>,
        open: Option<Term>,
        sink: Sink<'_>,
    ) {
        self.record = record;
        self.member = record.is_some();
        self.drive_election(now, election::Input::Startup, sink);
        let ours = record.is_some_and(|r| r.primary == self.config.node && Some(r.term) == open);
        if ours {
            self.drive_election(now, election::Input::Take, sink);
            self.set_gate(now, GateOrder::Open, sink);
            sink(Action::HoldAddresses);
            self.phase = Phase::Serving(Renewal::new(now, self.config.agent_timeout));
        } else {
            self.set_gate(now, GateOrder::Close, sink);
            sink(Action::DropAddresses);
            self.phase = Phase::Listening { until: now + self.listening_time() };
        }
        sink(Action::Publish);
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
            self.take_over(now, Cause::Elected, None, sink);
        } else {
            self.bootstrap(now, sink);
        }
    }

    /// Serves without a promotion, where nobody does and the database here accepts writes.
    ///
    /// This is how a pair begins (no record yet), how a primary goes on after its host came
    /// back before anyone took over, and how a database that was restarted in place returns.
    pub(super) fn bootstrap(&mut self, now: Instant, sink: Sink<'_>) {
        let may = self.record.is_none_or(|record| record.primary == self.config.node);
        let primary = self.database.writable && self.database.role == Role::Primary;
        if self.config.database && may && primary && !self.anyone_active(now) {
            self.take_over(now, Cause::Bootstrap, None, sink);
        }
    }

    /// Whether a peer serves or takes over, or has a primary of its own.
    pub(super) fn anyone_active(&self, now: Instant) -> bool {
        let fresh = |at: Instant| now.since(at) < self.config.agent_timeout;
        let heard = self.heard.is_some_and(|heard| fresh(heard.at));
        heard
            || self.peers.iter().flatten().any(|view| {
                fresh(view.at)
                    && (matches!(
                        view.status.phase,
                        probe::Phase::Serving | probe::Phase::TakingOver
                    ) || view.status.role == Role::Primary)
            })
    }

    /// The agent ends, in order to be started again: the gate stays as it is for another
    /// `agent_timeout`, which is also how long the peers bear with it.
    pub(super) fn stopping(&mut self, now: Instant, sink: Sink<'_>) {
        self.restarting = true;
        sink(Action::Publish);
        if let Phase::Serving(_) = self.phase {
            sink(Action::Renew { until: now + self.config.agent_timeout });
        } else if self.holds_addresses() {
            self.set_gate(now, GateOrder::Close, sink);
            self.drive_election(now, election::Input::Release, sink);
            sink(Action::DropAddresses);
            sink(Action::End(Outcome::Fenced));
        }
    }

    /// A record that counts every configured node in sync, with this node as primary.
    pub(super) fn next_record(&self) -> Record {
        let in_sync: NodeSet = self.all_nodes();
        Record { term: self.term().next(), primary: self.config.node, in_sync }
    }
}
