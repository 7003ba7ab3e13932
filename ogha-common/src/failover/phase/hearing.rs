//! What is heard of the others: adverts, statuses, answers, and silence.

use ::core::{cmp::Ordering, time::Duration};

use super::Phase;
use crate::{
    election,
    failover::{Notice, context::Context},
    units::{Instant, NodeId, Priority},
    wire::probe,
};

impl Context<'_> {
    /// Rule 8: adverts tell that a node is there; between the nodes of a database terms decide, and
    /// they travel in the status.
    pub fn advert(&mut self, phase: Phase, node: NodeId, advert: election::Advert) -> Phase {
        self.known.facts.advert_at = self.now;
        let active = advert.priority != Priority::RELEASE;
        match phase {
            Phase::Serving(mut serving) => {
                if active && serving.is_announced() {
                    self.notice(Notice::RivalAdvert);
                    serving.announce_again(self);
                }
                Phase::Serving(serving)
            }
            phase if phase.holds_addresses() => phase,
            phase => {
                let phase = if active { self.hear(phase, node) } else { phase };
                self.elect(election::Input::Advert(advert));
                phase
            }
        }
    }

    /// An advert that waits to be read is no silence. One that was read may have said goodbye since.
    pub fn advert_stamped(&mut self, phase: Phase, node: NodeId, at: Instant) -> Phase {
        let facts = &mut self.known.facts;
        if let Some(peer) = facts.peer_mut(&self.known.config, node) {
            peer.seen = peer.seen.max(at);
        }
        let unread = at > facts.advert_at;
        match facts.active.as_mut().filter(|active| unread && active.node == node) {
            Some(active) => {
                active.at = active.at.max(at);
                active.agent = active.agent.max(at);
                self.election.heard(at);
                phase.host_answers(self)
            }
            None => phase,
        }
    }

    pub fn peer(
        &mut self,
        phase: Phase,
        node: NodeId,
        status: &probe::Status,
        at: Instant,
    ) -> Phase {
        let Some(peer) = self.known.facts.peer_mut(&self.known.config, node) else { return phase };
        peer.at = peer.at.max(at);
        peer.heard = peer.heard.max(at);
        peer.seen = peer.seen.max(at);
        peer.status = Some(*status);
        self.known.facts.hangs.hear(self.now, status);
        let phase = match (status.term.cmp(&self.known.term()), status.phase) {
            (Ordering::Less, _) => phase.lower_term(self, node, status),
            (Ordering::Greater, _) => {
                let record = self.known.record_of(node, status);
                phase.adopt(self, record)
            }
            (Ordering::Equal, probe::Phase::Serving) => phase.same_term(self, node, status),
            (Ordering::Equal, probe::Phase::TakingOver) => {
                phase.rival_takes_over(self, node, status)
            }
            (Ordering::Equal, _) => phase,
        };
        // One that closes its gate for another node's term says that it serves till the kernel has that.
        let of_another = status.primary.is_some_and(|primary| primary != node);
        let serves = status.phase == probe::Phase::Serving && !of_another;
        let phase =
            if serves && status.term == self.known.term() { self.hear(phase, node) } else { phase };
        if status.phase == probe::Phase::Fenced {
            phase.peer_fenced(self, node, status)
        } else {
            phase
        }
    }

    fn hear(&mut self, phase: Phase, node: NodeId) -> Phase {
        self.known.facts.hear(self.now, node);
        phase.heard_active(self)
    }

    /// A peer's kernel answered, and said how long ago its agent was alive.
    pub fn answered(&mut self, phase: Phase, node: NodeId, age: Duration, holds: bool) -> Phase {
        let (now, facts) = (self.now, &mut self.known.facts);
        if let Some(peer) = facts.peer_mut(&self.known.config, node) {
            peer.seen = now;
            peer.lost = false;
        }
        let Some(active) = facts.active.as_mut().filter(|active| active.node == node) else {
            return phase;
        };
        active.at = now;
        active.agent = active.agent.max(now - age);
        active.holds = holds;
        active.lost = false;
        phase.host_answers(self).consider(self)
    }

    /// Probes to this host were sent, one after another, and not answered.
    pub fn unanswered(&mut self, phase: Phase, node: NodeId) -> Phase {
        let facts = &mut self.known.facts;
        if let Some(peer) = facts.peer_mut(&self.known.config, node) {
            peer.lost = true;
        }
        if let Some(active) = facts.active.as_mut().filter(|active| active.node == node) {
            active.lost = true;
        }
        phase.consider(self).tend(self)
    }
}
