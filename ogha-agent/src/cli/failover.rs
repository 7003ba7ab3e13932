//! `ogha-agent failover --force`

use std::time::Duration;

use anyhow::anyhow;

use super::{
    Failure,
    order::{self, OrderState},
};
use crate::control::{protocol::Request, view::InstanceView};

/// How long an order that was accepted may leave the node where it is: the arbiter is asked first.
const FIRST: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Take over though acknowledged writes may be lost
    #[arg(long)]
    force: bool,
    /// How long to follow it
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    order: order::Args,
}

const WHY_NOT: &str = "failovers happen by themselves, and a role is moved without loss by \
    `ogha-agent switchover`, on the node that serves. `failover --force` makes this node take over \
    though the rules forbid it: writes that were acknowledged may be lost, and if another node \
    still serves and is unreachable from here, there are two. `ogha-agent status` shows what \
    stands against it";

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    if !args.force {
        return Err(Failure::start_up(anyhow!(WHY_NOT)));
    }
    let accepted = args.order.give(&Request::Force(args.order.about()))?;
    if let Some(loses) = &accepted.loses {
        order::tell(&format!("this may lose {loses}"));
    }
    let mut moved = false;
    args.order.follow(&accepted, Some(args.timeout), |view, passed| {
        let waits = matches!(view.phase.as_str(), "standby" | "listening");
        moved |= !waits && !view.phase.starts_with("fenced");
        judge(view, &accepted.node, moved || passed >= FIRST)
    })
}

/// `began`: the node was seen to take over, or should have been by now.
fn judge(view: &InstanceView, own: &str, began: bool) -> OrderState {
    match view.phase.as_str() {
        "serving" => OrderState::Done(format!("{own} serves, in term {}", view.term)),
        "standby" | "listening" if began => {
            OrderState::Failed(format!("{own} did not take over{}", because(view)))
        }
        phase if phase.starts_with("fenced") && began => {
            OrderState::Failed(format!("{own} is {phase}{}", because(view)))
        }
        phase => OrderState::Going(phase.to_owned()),
    }
}

fn because(view: &InstanceView) -> String {
    match &view.waits_for {
        Some(wait) => format!("; it waits for {wait}"),
        None => "; see its log".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_this_node_serves_or_is_back_where_it_was() {
        let view = |phase: &str| InstanceView { phase: phase.into(), ..InstanceView::default() };
        assert!(matches!(judge(&view("standby"), "db2", false), OrderState::Going(_)));
        assert!(matches!(judge(&view("promoting"), "db2", true), OrderState::Going(_)));
        assert!(matches!(judge(&view("serving"), "db2", true), OrderState::Done(_)));
        for phase in ["standby", "listening", "fenced: the database could not be promoted"] {
            assert!(matches!(judge(&view(phase), "db2", true), OrderState::Failed(_)), "{phase}");
        }
    }
}
