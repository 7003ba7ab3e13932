//! The change of a phase: what it orders.

use super::Phase;
use crate::{
    election,
    failover::{
        Action, Cause, GateOrder, NodeSet, Order, Outcome, PhaseName, Step, Transition, Why,
        context::Context,
        grants::{Granters, Lease},
        rules::OpenPermit,
    },
    units::Instant,
};

/// The one way from a phase to another: what leaving the one and entering the other orders.
pub(in crate::failover) fn enter(
    cx: &mut Context<'_>,
    from: PhaseName,
    next: Phase,
    why: Why,
) -> Phase {
    let to = next.name();
    cx.act(Action::Entered(Transition { from, input: cx.input, to, why }));
    match (from, &next) {
        (_, Phase::Closing(closing)) => begin_to_close(cx, from, closing.cause, closing.at),
        (PhaseName::Closing, Phase::Listening(_) | Phase::Fenced(_)) => report_closed(cx, &next),
        (
            PhaseName::Withdrawing
            | PhaseName::Waiting
            | PhaseName::Proposing
            | PhaseName::Persisting,
            Phase::Standby(_),
        ) => {
            cx.end(Outcome::Standby);
            cx.publish();
        }
        (_, Phase::Standby(_)) | (PhaseName::Listening | PhaseName::Standby, Phase::Fenced(_)) => {
            cx.publish();
        }
        (_, Phase::Serving(_)) => cx.set_handed_over(false),
        _ => {}
    }
    next
}

fn begin_to_close(cx: &mut Context<'_>, from: PhaseName, cause: Cause, at: Instant) {
    if from != PhaseName::Serving {
        cx.end(Outcome::Fenced);
    }
    cx.order_gate(GateOrder::Close, &Granters::default());
    cx.act(Action::Begin { cause, at });
}

/// The kernel has the closed gate, and what had to be stopped is stopped.
fn report_closed(cx: &mut Context<'_>, next: &Phase) {
    cx.known.commits.forget();
    cx.order_granters(NodeSet::EMPTY);
    cx.publish();
    cx.elect(election::Input::Release);
    cx.step(Step::FencedReported);
    cx.act(Action::DropAddresses);
    let outcome = match next {
        Phase::Fenced(fenced) => {
            if fenced.is_stopping() {
                cx.act(Action::Database(Order::Stop));
            }
            Outcome::Fenced
        }
        _ => {
            cx.known.facts.listening_since = cx.now;
            Outcome::Listening
        }
    };
    cx.end(outcome);
}

/// How long a node listens: long enough to hear whoever serves, and for any gate of an agent that died
/// to lapse.
pub(super) fn listening_end(cx: &Context<'_>) -> Instant {
    cx.now + cx.known.config.agent_timeout + cx.known.config.margin()
}

/// Has the kernel open the gate.
pub(super) fn order_open(cx: &mut Context<'_>, _: OpenPermit, granters: &Granters) -> Lease {
    cx.order_gate(GateOrder::Open, granters)
}
