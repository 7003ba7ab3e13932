//! Answers to operators: what the agent knows, in the words of the control socket.

use std::time::Duration;

use ogha_common::{
    election::State,
    failover::{Phase, Wait},
    maps::Passage,
    units::{Instant as Moment, NodeId},
};

use super::{hosted::Hosted, instance::Instance, peer::Peer, referee::Answer, story::History};
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
    instances: &[Hosted],
    kernel: &Kernel,
    history: &History,
) -> Response {
    match request {
        Request::Status => {
            let now = clock::now();
            let views = instances
                .iter()
                .map(|instance| instance.view(now, kernel, history))
                .collect::<anyhow::Result<_>>();
            match views {
                Ok(instances) => {
                    Response::Status(view::Status { node: node.to_owned(), instances })
                }
                Err(e) => Response::error(format!("the kernel's maps can't be read: {e:#}")),
            }
        }
        _ => Response::History(view::History {
            node: node.to_owned(),
            failovers: history.stories().to_vec(),
        }),
    }
}

impl Instance {
    pub(super) fn view(
        &self,
        now: Moment,
        kernel: &Kernel,
        history: &History,
    ) -> anyhow::Result<view::InstanceView> {
        let gate = kernel.gate(self.slot())?;
        let heard = kernel.heard(self.slot())?;
        let passage = gate.passage(&heard, now.ns());
        let lease = Moment::from_ns(gate.lease_end_ns(&heard)).since(now);
        Ok(view::InstanceView {
            name: self.config.name.clone(),
            vrid: self.config.vrid.get(),
            vrrp: vrrp(self.core.vrrp()).to_owned(),
            term: self.core.term().get(),
            phase: phase(self.core.phase()),
            gate: gate_word(passage).to_owned(),
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            hook: kernel.hook(&self.interface.name).map_or("none", Hook::as_str).to_owned(),
            vips: self.vips.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect(),
            database: self.database_view(),
            peers: self.peers.list.iter().map(|peer| self.peer_view(now, peer)).collect(),
            counters: kernel.port_counters(self.slot())?.into(),
            arp: kernel.arp_counters(self.slot())?,
            probes: kernel.probe_counters(self.slot())?,
            adverts: kernel.advert_counters(self.slot())?,
            failovers: history.failovers(&self.config.name),
            primary: self.core.record().map(|record| self.name_of(record.primary)),
            in_sync: self.in_sync(),
            paused: self.core.is_paused(),
            waits_for: self.core.waits_for(now).map(|wait| self.words(wait)),
            arbiter: self.arbiter_view(),
            switchover_to: self.core.switching_to().map(|node| self.name_of(node)),
            rejoin: self.progress.borrow().as_ref().map(rejoin_view),
            restarts: self.core.restarts(),
        })
    }

    /// A node's name, this one's too.
    pub(super) fn name_of(&self, node: NodeId) -> String {
        let own = node == self.peers.own();
        if own { self.hooks.node() } else { self.peers.name_of(node) }.to_owned()
    }

    fn in_sync(&self) -> Vec<String> {
        let record = self.core.record();
        let set = record.map(|record| record.in_sync).unwrap_or_default();
        let mut names: Vec<_> = set.iter().map(|node| self.name_of(node)).collect();
        names.sort();
        names
    }

    /// What a person must do.
    fn words(&self, wait: Wait) -> String {
        match wait {
            Wait::Arbiter => format!("the arbiter ({}) to answer", self.arbiter.kind()),
            Wait::StartDatabase => "the database here to be started".to_owned(),
            Wait::Rejoin => "`ogha-agent rejoin` here: the database lost its role, and has to \
                             become a standby again"
                .to_owned(),
            Wait::Others(set) => {
                let names: Vec<_> = set.iter().map(|node| self.name_of(node)).collect();
                format!(
                    "{} to be heard, which may have been promoted; or, if it was not, `ogha-agent \
                     failover --force` here",
                    names.join(", ")
                )
            }
            Wait::Force(hindrance) => {
                format!("`ogha-agent failover --force` here, for by itself it may not: {hindrance}")
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
            answers: self.arbiter.answers().into_iter().map(answer).collect(),
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
        let in_sync = self.core.record().is_some_and(|record| record.in_sync.contains(peer.node));
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
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rejoin_view(progress: &Progress) -> view::RejoinView {
    view::RejoinView {
        phase: progress.phase.clone(),
        percent: progress.percent,
        lost: progress.lost.as_ref().map(ToString::to_string),
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

fn phase(phase: Phase) -> String {
    match phase {
        Phase::Initial | Phase::Listening { .. } => "listening".to_owned(),
        Phase::Standby => "standby".to_owned(),
        Phase::Withdrawing { .. } | Phase::Waiting { .. } => "waiting".to_owned(),
        Phase::Proposing { .. } => "asking the arbiter".to_owned(),
        Phase::Persisting { .. } | Phase::Claiming => "claiming".to_owned(),
        Phase::Promoting { .. } => "promoting".to_owned(),
        Phase::Opening { .. } => "opening".to_owned(),
        Phase::Serving(_) => "serving".to_owned(),
        Phase::Closing { cause } => format!("closing: {cause}"),
        Phase::Fenced { cause, .. } => format!("fenced: {cause}"),
    }
}
