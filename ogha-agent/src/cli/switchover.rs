//! `ogha-agent switchover`

use std::time::Duration;

use super::{
    Failure,
    order::{self, OrderState},
};
use crate::control::{order::Switchover, protocol::Request, view::InstanceView};

/// How long the old primary is followed on its way back, once the other node serves.
const RETURN: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node that is to serve; without it the best of those in sync
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// How long to follow it; `switchover_timeout` of the configuration is when the agent undoes it
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    order: order::Args,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let order = Switchover { instance: args.order.instance(), to: args.to.clone() };
    let accepted = args.order.give(&Request::Switchover(order))?;
    let to = accepted.to.clone().unwrap_or_default();
    let mut served_at = None;
    args.order.follow(&accepted, Some(args.timeout), |view, passed| {
        let verdict = judge(view, &accepted.node, &to);
        if let OrderState::Going(word) = &verdict
            && word.starts_with(&serves(&to))
            && passed.saturating_sub(*served_at.get_or_insert(passed)) >= RETURN
        {
            return OrderState::Done(format!("{word}; `ogha-agent status` shows when it is back"));
        }
        verdict
    })
}

fn serves(to: &str) -> String {
    format!("{to} serves; ")
}

fn judge(view: &InstanceView, own: &str, to: &str) -> OrderState {
    let primary = view.primary.as_deref().unwrap_or_default();
    if view.switchover_to.is_some() {
        return OrderState::Going(format!("handing over to {to}: {}", view.phase));
    }
    if primary == own {
        return if view.phase == "serving" {
            OrderState::Failed(format!(
                "the switchover was undone: {own} continues to serve. See its log"
            ))
        } else {
            OrderState::Going(format!("{}: {}", view.phase, view.database.state))
        };
    }
    let there = view.peers.iter().find(|peer| peer.name == primary);
    if there.is_none_or(|peer| peer.phase != "serving") {
        return OrderState::Going(format!("{primary} takes over"));
    }
    if primary != to {
        return OrderState::Failed(format!("{primary} serves, not {to}"));
    }
    if view.database.role == "standby" && view.in_sync.iter().any(|node| node == own) {
        return OrderState::Done(format!("{to} serves; {own} is its standby, in sync"));
    }
    let back = match &view.rejoin {
        Some(rejoin) => rejoin.phase.as_str(),
        None => view.database.state.as_str(),
    };
    OrderState::Going(format!("{}the database here is on its way back: {back}", serves(to)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::PeerView;

    fn view(primary: &str, phase: &str) -> InstanceView {
        let peer = PeerView { name: "db2".into(), phase: "serving".into(), ..PeerView::default() };
        InstanceView {
            primary: Some(primary.into()),
            phase: phase.into(),
            peers: vec![peer],
            ..InstanceView::default()
        }
    }

    #[test]
    fn it_ends_when_the_other_serves_and_this_one_is_back() {
        let mut here = view("db1", "serving");
        here.switchover_to = Some("db2".into());
        assert!(matches!(judge(&here, "db1", "db2"), OrderState::Going(_)));
        here.switchover_to = None;
        assert!(matches!(judge(&here, "db1", "db2"), OrderState::Failed(_)), "undone");
        let mut there = view("db2", "fenced: switchover");
        assert!(matches!(judge(&there, "db1", "db2"), OrderState::Going(_)));
        there.database.role = "standby".into();
        assert!(matches!(judge(&there, "db1", "db2"), OrderState::Going(_)));
        there.in_sync = vec!["db1".into(), "db2".into()];
        assert!(matches!(judge(&there, "db1", "db2"), OrderState::Done(_)));
        assert!(
            matches!(judge(&there, "db1", "db3"), OrderState::Failed(_)),
            "another one took it"
        );
    }
}
