//! Answers to operators: what the agent knows, in the words of the control socket.

use std::time::Duration;

use ogha_common::{
    election::State,
    failover::{Core, PhaseName, Wait},
    maps::Passage,
    units::{Instant as Moment, NodeId},
};

use super::{
    footing::Footing, history::History, host::Effects, hosted::Hosted, instance::Instance,
    peer::Peer, ports::Answer,
};
use crate::{
    clock,
    control::{
        protocol::{Request, Response},
        view,
    },
    database::Progress,
    kernel::{Hook, Kernel},
};

/// Answers a request. Nothing is changed.
pub fn answer(
    request: &Request,
    node: &str,
    hosted: &[Hosted],
    configuration: &view::ConfigurationView,
    kernel: &Kernel,
    history: &History,
) -> Response {
    match request {
        Request::Status => {
            let now = clock::now();
            let views = hosted
                .iter()
                .map(|one| one.view(now, kernel, history))
                .collect::<anyhow::Result<_>>();
            match views {
                Ok(instances) => Response::Status(view::Status {
                    node: node.to_owned(),
                    instances,
                    configuration: configuration.clone(),
                }),
                Err(e) => Response::error(format!("cannot read the kernel's maps: {e:#}")),
            }
        }
        _ => Response::History(view::History {
            node: node.to_owned(),
            failovers: history.failovers().to_vec(),
        }),
    }
}

impl Instance {
    pub(super) fn view(
        &self,
        now: Moment,
        effects: &Effects,
        kernel: &Kernel,
        history: &History,
    ) -> anyhow::Result<view::InstanceView> {
        let gate = kernel.gate(effects.slot)?;
        let heard = kernel.heard(effects.slot)?;
        let passage = gate.passage(&heard, now.ns());
        let lease = Moment::from_ns(gate.lease_end_ns(&heard)).since(now);
        Ok(view::InstanceView {
            name: self.config.name.clone(),
            vrid: self.config.vrid.get(),
            vrrp: vrrp(self.core().vrrp()).to_owned(),
            term: self.core().term().get(),
            phase: phase(self.core()),
            gate: gate_word(passage).to_owned(),
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            hook: kernel
                .hook(&effects.footing.interface.name)
                .map_or("none", Hook::as_str)
                .to_owned(),
            vips: effects
                .vips
                .iter()
                .map(|(address, prefix)| format!("{address}/{prefix}"))
                .collect(),
            database: self.database_view(),
            peers: self.peers.list.iter().map(|peer| self.peer_view(now, peer)).collect(),
            contradictions: self.contradictions_view(),
            counters: kernel.port_counters(effects.slot)?.into(),
            arp: kernel.arp_counters(effects.slot)?,
            probes: kernel.probe_counters(effects.slot)?,
            adverts: kernel.advert_counters(effects.slot)?,
            failovers: history.count(&self.config.name),
            primary: self.core().record().map(|record| self.name_of(record.primary)),
            in_sync: self.in_sync(),
            paused: self.core().is_paused(),
            waits_for: self.waits_for(now),
            disk: self.disk.problem().map(str::to_owned),
            arbiter: self.arbiter_view(),
            switchover_to: self.core().switching_to().map(|node| self.name_of(node)),
            rejoin: effects.progress.borrow().as_ref().map(rejoin_view),
            restarts: self.core().restarts(),
            faults: faults(&effects.footing, self.addresses_trouble()),
        })
    }

    /// A node's name, this one's too.
    pub(super) fn name_of(&self, node: NodeId) -> String {
        let own = node == self.peers.own();
        if own { self.hooks.node() } else { self.peers.name_of(node) }.to_owned()
    }

    fn contradictions_view(&self) -> Vec<view::ContradictionView> {
        let of = |peer: &Peer| {
            let name = peer.name.clone();
            self.contradictions.of(peer.node).map(move |what| view::ContradictionView {
                peer: name.clone(),
                what: what.to_string(),
                blocks: what.danger().is_some(),
                harmless: what.is_harmless(),
            })
        };
        self.peers.list.iter().flat_map(of).collect()
    }

    fn in_sync(&self) -> Vec<String> {
        let mut names: Vec<_> = self.in_sync_set().iter().map(|node| self.name_of(node)).collect();
        names.sort();
        names
    }

    fn waits_for(&self, now: Moment) -> Option<String> {
        let wait = self.core().waits_for(now).map(|wait| self.words(wait));
        // A takeover, and any other change of the record, waits for that.
        wait.or_else(|| self.disk.problem().map(|why| format!("state_dir to be put right: {why}")))
    }

    /// What a person must do.
    fn words(&self, wait: Wait) -> String {
        match wait {
            Wait::Arbiter => format!("the arbiter ({}) to answer", self.arbiter.kind()),
            Wait::StartDatabase => "the database here to be started".to_owned(),
            Wait::Answer => match &self.seen.error {
                Some(error) => format!("the database here to answer SQL: {error}"),
                None => "the database here to answer SQL; its process runs".to_owned(),
            },
            Wait::Rejoin => {
                "`ogha-agent rejoin` here: the database is not a standby of the primary \
                             any more, and has to become one again"
                    .to_owned()
            }
            Wait::PrimaryAgent => {
                let upstream = self.seen.upstream.as_ref().and_then(|up| up.peer.as_deref());
                let upstream = upstream.unwrap_or("the primary's node");
                format!(
                    "the agent of {upstream} to be started: the database here receives WAL from the \
                     primary there, which lives. Do not force"
                )
            }
            Wait::Others(set) => {
                let names: Vec<_> = set.iter().map(|node| self.name_of(node)).collect();
                let names = names.join(", ");
                format!(
                    "contact with {names} (it may be primary). Only if {names} is switched off for \
                     good: `ogha-agent failover --force` here"
                )
            }
            Wait::Force(blocker) => format!(
                "an operator: {blocker}. Only if no other node serves: `ogha-agent failover --force` \
                 here; it may lose {}",
                self.core().loss_if_forced()
            ),
            Wait::Hang => {
                "an operator: the database here hangs, and a database of this cluster was stopped for a \
                 hang less than 10 minutes ago. `ogha-agent resume` here lets ogha stop this one, too"
                    .to_owned()
            }
            Wait::Resume => "`ogha-agent resume`: an operator has paused failovers".to_owned(),
        }
    }

    fn arbiter_view(&self) -> view::ArbiterView {
        let answer = |answer: Answer| view::AnswerView {
            place: answer.place,
            rtt_us: answer.came.as_ref().ok().copied().map(micros),
            error: answer.came.err(),
        };
        view::ArbiterView {
            kind: self.arbiter.kind().to_owned(),
            answers: self.arbiter.answers().iter().cloned().map(answer).collect(),
        }
    }

    fn database_view(&self) -> view::DatabaseView {
        view::DatabaseView {
            kind: self.config.database.name().to_owned(),
            role: self.seen.role.as_str().to_owned(),
            state: self.seen.state.clone(),
            lsn: self.seen.lsn.map(|lsn| lsn.to_string()),
            listening: self.listening,
            verdict: self.health.verdict().as_str().to_owned(),
            evidence: self.health.verdict().to_string(),
        }
    }

    fn peer_view(&self, now: Moment, peer: &Peer) -> view::PeerView {
        let timeout = self.config.liveness.agent_timeout;
        let host = peer.was_heard() && !peer.is_lost();
        let agent = peer.agent_age(now).is_some_and(|age| age < timeout);
        let verdict = peer.verdict();
        let in_sync = self.core().record().is_some_and(|record| record.in_sync.contains(peer.node));
        let replication = self.seen.replication.iter().find(|seen| seen.peer == peer.name);
        let word = |alive| if alive { "alive" } else { "silent" }.to_owned();
        view::PeerView {
            name: peer.name.clone(),
            host: word(host),
            agent: word(agent),
            verdict: verdict.as_str().to_owned(),
            evidence: verdict.to_string(),
            phase: peer.status().map_or("unknown", |status| status.phase.as_str()).to_owned(),
            listening: peer.listening(),
            rtt_us: peer.rtt().map(micros),
            in_sync,
            paused: peer.status().is_some_and(|status| status.paused),
            replication: replication.map(|peer| peer.state.clone()),
            lag_bytes: replication.and_then(|peer| peer.lag),
            software: peer.software().map(|version| version.to_string()),
            same_host: peer.is_of_boot(self.peers.identity().boot_id),
        }
    }
}

/// What is wrong with the host, in words.
pub(super) fn faults(footing: &Footing, addresses: Option<&str>) -> Vec<String> {
    let addresses = addresses.map(|why| format!("cannot change the addresses: {why}"));
    footing.faults().iter().cloned().chain(addresses).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rejoin_view(progress: &Progress) -> view::RejoinView {
    view::RejoinView {
        phase: progress.phase.clone(),
        percent: progress.percent,
        lost: progress.lost.as_ref().map(ToString::to_string),
        why: progress.why.clone(),
        kept: progress.kept.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn vrrp(state: State) -> &'static str {
    match state {
        State::Initialize => "initialize",
        State::Backup { .. } => "backup",
        State::Active { .. } => "active",
    }
}

pub(super) fn gate_word(passage: Passage) -> &'static str {
    match passage {
        Passage::Open => "open",
        Passage::Claimed | Passage::Closed => "closed",
        Passage::Lapsed => "lapsed",
    }
}

/// The word for the phase, and why a gate is closed.
fn phase(core: &Core) -> String {
    let word = core.phase().as_str();
    match core.phase() {
        PhaseName::Initial => "listening".to_owned(),
        PhaseName::Closing | PhaseName::Fenced => match core.cause() {
            Some(cause) => format!("{word}: {cause}"),
            None => word.to_owned(),
        },
        _ => word.to_owned(),
    }
}
