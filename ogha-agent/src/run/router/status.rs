//! What the host of a router tells operators.

use std::net::IpAddr;

use ogha_common::{
    router::{Other, PhaseName},
    units::Instant as Moment,
};

use super::{NO_TERM, RouterHost};
use crate::{
    config,
    control::view,
    kernel::{Hook, Kernel},
    run::{
        history::History,
        status::{faults, gate_word, vrrp},
    },
};

/// Why an operator command is refused.
const NO_DATABASE: &str = "this instance has no database (kind = \"none\"): VRRP's election alone \
                           decides who serves; stop the agent here to hand the role over";

impl RouterHost {
    /// Why no operator command can be carried out.
    pub fn refusal(&self) -> String {
        format!("instance {}: {NO_DATABASE}", self.config.name)
    }

    /// The status.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read.
    pub fn view(
        &self,
        now: Moment,
        kernel: &Kernel,
        history: &History,
    ) -> anyhow::Result<view::InstanceView> {
        let gate = kernel.gate(self.slot())?;
        let heard = kernel.heard(self.slot())?;
        let lease = Moment::from_ns(gate.lease_end_ns(&heard)).since(now);
        let other = self.router.other();
        Ok(view::InstanceView {
            name: self.config.name.clone(),
            vrid: self.config.vrid.get(),
            vrrp: vrrp(self.router.election()).to_owned(),
            term: NO_TERM.get(),
            phase: self.router.phase().to_string(),
            gate: gate_word(gate.passage(&heard, now.ns())).to_owned(),
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            hook: kernel.hook(&self.footing.interface.name).map_or("none", Hook::as_str).to_owned(),
            vips: self.vips.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect(),
            database: self.service_view(),
            peers: self.config.peers.iter().map(|peer| peer_view(peer, other, now)).collect(),
            counters: kernel.port_counters(self.slot())?.into(),
            arp: kernel.arp_counters(self.slot())?,
            adverts: kernel.advert_counters(self.slot())?,
            failovers: history.count(&self.config.name),
            waits_for: self.waits_for(),
            faults: faults(&self.footing, self.addresses.trouble()),
            arbiter: view::ArbiterView { kind: "none".to_owned(), answers: Vec::new() },
            ..view::InstanceView::default()
        })
    }

    /// The service behind the addresses. The election does not ask whether it works.
    fn service_view(&self) -> view::DatabaseView {
        let port = self.config.database.port();
        view::DatabaseView {
            kind: self.config.database.name().to_owned(),
            role: "none".to_owned(),
            state: port.map(|port| format!("port {port}")).unwrap_or_default(),
            listening: self.listening,
            verdict: "none".to_owned(),
            ..view::DatabaseView::default()
        }
    }

    fn waits_for(&self) -> Option<String> {
        let gate = self.gate_trouble.reason();
        let stuck = gate.filter(|_| self.router.phase() != PhaseName::Serving)?;
        Some(format!("the kernel to set the gate: {stuck}"))
    }
}

/// A peer is a router, known by its adverts: a backup sends none, so of one that is not heard nothing is
/// known.
fn peer_view(peer: &config::Peer, other: Option<Other>, now: Moment) -> view::PeerView {
    let unknown = || "unknown".to_owned();
    let is = |source: IpAddr| peer.addresses.contains(&source);
    let heard = other.filter(|other| is(other.source));
    let (phase, evidence) = match heard {
        None => (unknown(), "not heard: a backup sends no adverts".to_owned()),
        Some(other) => {
            let ago = now.since(other.at).as_secs_f64();
            let priority = other.priority.get();
            if other.released {
                (unknown(), format!("priority {priority}, gave up its role {ago:.1} s ago"))
            } else if now < other.silent_at {
                ("active".to_owned(), format!("priority {priority}, heard {ago:.1} s ago"))
            } else {
                (unknown(), format!("priority {priority}, silent for {ago:.1} s"))
            }
        }
    };
    let alive = if phase == "active" { "alive".to_owned() } else { unknown() };
    view::PeerView {
        name: peer.name.clone(),
        host: alive.clone(),
        agent: alive,
        verdict: phase.clone(),
        evidence,
        phase,
        ..view::PeerView::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ogha_common::units::Priority;

    use super::*;

    #[test]
    fn a_peer_that_is_not_heard_is_not_called_dead() {
        let address: IpAddr = [192, 0, 2, 12].into();
        let peer = config::Peer { name: "b".to_owned(), addresses: vec![address] };
        let at = Moment::from_ns(1_000_000_000);
        let other = |source, released| Other {
            source,
            priority: Priority::new(150),
            at,
            silent_at: at + Duration::from_secs(3),
            released,
        };
        let phase = |other, after| {
            let view = peer_view(&peer, other, at + Duration::from_secs(after));
            assert_eq!(view.host == "alive", view.phase == "active");
            view.phase
        };
        assert_eq!(phase(None, 0), "unknown");
        assert_eq!(phase(Some(other(address, false)), 2), "active");
        assert_eq!(phase(Some(other(address, false)), 4), "unknown");
        assert_eq!(phase(Some(other(address, true)), 0), "unknown");
        assert_eq!(phase(Some(other([192, 0, 2, 13].into(), false)), 0), "unknown");
    }
}
