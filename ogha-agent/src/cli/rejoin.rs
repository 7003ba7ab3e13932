//! `ogha-agent rejoin`

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};

use super::{
    Failure,
    order::{self, OrderState},
    output,
};
use crate::{
    config::{Config, DEFAULT_FILE, Instance},
    control::{
        client,
        protocol::{Request, Response},
        socket_path,
        view::InstanceView,
    },
    database::{self, Plan},
};

/// How long what is shown may be of an earlier attempt.
const FIRST: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long to follow it; without, until it has ended
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Say what it would do, lose and keep, and change nothing; ends with 1 if it would be refused
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: as a standby of this node, instead of the primary that the agent knows
    #[arg(long, value_name = "NODE", requires = "dry_run")]
    to: Option<String>,
    /// With --dry-run: the configuration; no agent need run
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, requires = "dry_run")]
    config: PathBuf,
    #[command(flatten)]
    order: order::Args,
}

pub(super) fn command(args: &Args) -> Result<(), Failure> {
    if args.dry_run {
        return dry_run(args);
    }
    let accepted = args.order.give(&Request::Rejoin(args.order.about()))?;
    let mut begun = false;
    args.order.follow(&accepted, args.timeout, |view, passed| {
        let phase = view.rejoin.as_ref().map(|rejoin| rejoin.phase.as_str());
        begun |= !matches!(phase, None | Some("done" | "failed")) || passed >= FIRST;
        judge(view, begun)
    })
}

/// It asks the database itself, with the rights of its user, as `doctor` does.
fn dry_run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    let instance = instance(&config, args.order.instance().as_deref())?;
    let peer = match &args.to {
        Some(peer) => peer.clone(),
        None => upstream(&config, instance)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let nodes = instance.nodes(&config.node.name);
    let plan: Plan = runtime.block_on(database::plan(&instance.database, nodes, &peer))?;
    if args.order.wants_json() {
        output::json(&plan)?;
    } else {
        output::print(&plan.to_string())?;
    }
    match plan.is_possible() {
        true => Ok(()),
        false => Err(Failure::failed(anyhow!(
            "a rejoin would be refused: {}",
            plan.obstacles.join("; ")
        ))),
    }
}

fn instance<'a>(config: &'a Config, wanted: Option<&str>) -> Result<&'a Instance, Failure> {
    let with_database = |i: &&Instance| i.database.server().is_some();
    let mut all = config.instances.iter().filter(with_database);
    let found = match wanted {
        Some(name) => all.find(|instance| instance.name == name),
        None => all.next().filter(|_| all.next().is_none()),
    };
    found.ok_or_else(|| {
        Failure::failed(anyhow!("name one instance that has a database by --instance NAME"))
    })
}

/// Whom the agent takes for the primary; without one, the only peer.
fn upstream(config: &Config, instance: &Instance) -> Result<String, Failure> {
    let of = |peer: &str| instance.peers.iter().any(|known| known.name == peer);
    if let Ok(Response::Status(status)) =
        client::ask(&socket_path(&config.node.run_dir), &Request::Status)
    {
        let view = status.instances.into_iter().find(|view| view.name == instance.name);
        if let Some(primary) = view.and_then(|view| view.primary).filter(|name| of(name)) {
            return Ok(primary);
        }
    }
    match &instance.peers[..] {
        [peer] => Ok(peer.name.clone()),
        _ => Err(Failure::failed(anyhow!(
            "no agent says which node is the primary; name it by --to NODE"
        ))),
    }
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
            OrderState::Done(format!("{}{lost}{}", done(view), kept(&rejoin.kept)))
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

/// What is there now and nobody removes but a person.
fn kept(kept: &[String]) -> String {
    if kept.is_empty() {
        return String::new();
    }
    format!("; rejoins have kept here {}: remove it when nobody needs it", kept.join(", "))
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
            let kept = vec!["/d.ogha-lost-1 (16.0 MiB)".to_owned()];
            Some(RejoinView { phase: phase.into(), percent, lost, why, kept })
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
        let OrderState::Done(word) = judge(&view, true) else { panic!("it is done") };
        assert!(word.contains("kept here /d.ogha-lost-1 (16.0 MiB)"), "{word}");
    }
}
