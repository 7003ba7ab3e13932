//! Answers to operators: what the agent knows, in the words of the control socket.

use ogha_common::{election::State, failover::Phase, maps::Passage, units::Instant as Moment};

use super::{instance::Instance, peer::Peer, story::History};
use crate::{
    clock,
    control::{
        protocol::{Request, Response},
        view,
    },
    kernel::{Hook, Kernel},
};

/// Answers a request. Nothing is changed.
pub fn answer(
    request: Request,
    node: &str,
    instances: &[Instance],
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
        Request::History => Response::History(view::History {
            node: node.to_owned(),
            failovers: history.stories().to_vec(),
        }),
    }
}

impl Instance {
    fn view(
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
        })
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
        let word = |alive| if alive { "alive" } else { "silent" }.to_owned();
        view::PeerView {
            name: peer.name.clone(),
            host: word(host),
            agent: word(agent),
            verdict: verdict.as_str().to_owned(),
            evidence: verdict.to_string(),
            phase: peer.status().map_or("unknown", |status| status.phase.as_str()).to_owned(),
            listening: peer.listening(),
            rtt_us: peer.rtt().map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            in_sync,
        }
    }
}

fn vrrp(state: State) -> &'static str {
    match state {
        State::Initialize => "initialize",
        State::Backup { .. } => "backup",
        State::Active { .. } => "active",
    }
}

fn gate_word(passage: Passage) -> &'static str {
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
