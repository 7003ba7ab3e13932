//! Just started, or without a lease: a node listens before it does anything.

use super::{Phase, Serving, Standby, enter, listening_end};
use crate::{
    election,
    failover::{Action, GateOrder, PhaseName, Record, Why, context::Context, grants::Granters},
    units::{Instant, Term},
};

/// A node that listens. After that any serving peer has been detected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Listening {
    pub until: Instant,
}

impl Phase {
    /// A gate that is still open in the term of our record was ours a moment ago: go on without
    /// a gap. Otherwise listen.
    pub fn start(cx: &mut Context<'_>, record: Option<Record>, open: Option<Term>) -> Self {
        cx.known.cluster.record = record;
        cx.known.cluster.member = record.is_some();
        cx.known.facts.listening_since = cx.now;
        cx.elect(election::Input::Startup);
        let own = cx.known.config.node;
        let ours = record.filter(|r| r.primary == own && Some(r.term) == open);
        let phase = match ours {
            Some(record) => Serving::resumed(cx, &record),
            None => {
                cx.order_gate(GateOrder::Close, &Granters::default());
                cx.act(Action::DropAddresses);
                Listening::begin(cx, PhaseName::Initial, Why::AgentStarted)
            }
        };
        if cx.known.config.has_store() {
            cx.act(Action::Consult);
        }
        cx.publish();
        phase
    }
}

impl Listening {
    pub fn begin(cx: &mut Context<'_>, from: PhaseName, why: Why) -> Phase {
        let until = listening_end(cx);
        enter(cx, from, Phase::Listening(Self { until }), why)
    }

    pub fn wait_until(&mut self, until: Instant) {
        self.until = self.until.max(until);
    }

    /// Nobody was heard to serve, or [`Phase::heard_active`] has ended this.
    pub fn tick(self, cx: &mut Context<'_>) -> Phase {
        if cx.now < self.until {
            return Phase::Listening(self);
        }
        let standby = Phase::Standby(Standby::default());
        match enter(cx, PhaseName::Listening, standby, Why::NobodyHeard) {
            Phase::Standby(standby) => standby.bootstrap(cx),
            other => other,
        }
    }
}
