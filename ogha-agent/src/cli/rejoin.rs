//! `ogha-agent rejoin`

use std::time::Duration;

use super::{
    Failure,
    order::{self, OrderState},
};
use crate::control::{protocol::Request, view::InstanceView};

/// How long what is shown may be of an earlier attempt.
const FIRST: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long to follow it; without, until it has ended
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    order: order::Args,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    let accepted = args.order.give(&Request::Rejoin(args.order.about()))?;
    let mut begun = false;
    args.order.follow(&accepted, args.timeout, |view, passed| {
        let phase = view.rejoin.as_ref().map(|rejoin| rejoin.phase.as_str());
        begun |= !matches!(phase, None | Some("done" | "failed")) || passed >= FIRST;
        judge(view, begun)
    })
}

fn judge(view: &InstanceView, begun: bool) -> OrderState {
    let Some(rejoin) = view.rejoin.as_ref().filter(|_| begun) else {
        return if begun && view.database.role == "standby" {
            OrderState::Done(done(view))
        } else {
            OrderState::Going("waiting for the database".to_owned())
        };
    };
    let lost = rejoin.lost.as_ref().map(|lost| format!("; only this node had {lost}"));
    let lost = lost.unwrap_or_default();
    match (rejoin.phase.as_str(), rejoin.percent) {
        ("done", _) if view.database.role == "standby" => {
            OrderState::Done(format!("{}{lost}", done(view)))
        }
        ("failed", _) => OrderState::Failed(format!(
            "the rejoin failed: {}{lost}",
            rejoin.why.as_deref().unwrap_or("see the agent's log")
        )),
        (phase, Some(percent)) => {
            OrderState::Going(format!("{phase}, {}%{lost}", percent / 10 * 10))
        }
        (phase, None) => OrderState::Going(format!("{phase}{lost}")),
    }
}

fn done(view: &InstanceView) -> String {
    let primary = view.primary.as_deref().unwrap_or("the primary");
    format!("the database here is a standby of {primary}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::RejoinView;

    #[test]
    fn it_ends_with_a_standby_or_a_failure() {
        let mut view = InstanceView { primary: Some("db2".into()), ..InstanceView::default() };
        assert!(matches!(judge(&view, false), OrderState::Going(_)));
        let phase = |phase: &str, percent| {
            let lost = Some("timeline 3".to_owned());
            let why = Some("pg_rewind: error: no permission".to_owned());
            Some(RejoinView { phase: phase.into(), percent, lost, why })
        };
        view.rejoin = phase("copying", Some(37));
        assert_eq!(
            judge(&view, true),
            OrderState::Going("copying, 30%; only this node had timeline 3".into())
        );
        view.rejoin = phase("failed", None);
        assert!(matches!(judge(&view, false), OrderState::Going(_)), "of an earlier attempt");
        let OrderState::Failed(why) = judge(&view, true) else { panic!("it has failed") };
        assert!(why.contains("pg_rewind: error: no permission"), "{why}");
        view.rejoin = phase("done", None);
        assert!(matches!(judge(&view, true), OrderState::Going(_)), "it was not seen yet");
        view.database.role = "standby".into();
        assert!(matches!(judge(&view, true), OrderState::Done(_)));
    }
}
