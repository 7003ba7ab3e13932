//! In what the peers contradict this node: by what their probes say of their configuration, and by what
//! the kernel refused from their addresses.
//!
//! Nobody fails over by a contradiction. It is logged when it begins and when it ends, `status` and
//! `doctor` name it, and a dangerous one of the primary's node keeps this one from being promoted.

use std::time::Duration;

use ogha_common::{
    maps::Refused,
    profile::{Contradiction, Danger, Name},
    units::{Instant, NodeId},
};
use tracing::{info, warn};

use super::{peer::Peer, peers::Peers, ports::Ports, retry::Trouble};

/// How often they are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For how long what was refused counts.
const RECENT: Duration = Duration::from_secs(3);
/// How long the pages of a peer may stay away while its probes come: then it is another, older agent.
const PAGES_STAY_AWAY: Duration = Duration::from_secs(30);
/// What comes and goes is logged no more often than so.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// A datagram of a boot of ours that was sent so long ago is an echo of our own.
const LIVE: Duration = Duration::from_secs(2);

/// One contradiction, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who contradicts.
    pub node: NodeId,
    /// In what.
    pub what: Contradiction,
}

/// All that is known.
#[derive(Debug)]
pub struct Contradictions {
    instance: String,
    started: Instant,
    next_look: Instant,
    found: Vec<Found>,
    logged: Vec<(Found, Instant)>,
    danger: Option<Danger>,
    trouble: Trouble,
}

impl Contradictions {
    /// Nothing is known yet; the first look is due now.
    #[must_use]
    pub fn new(instance: &str, now: Instant) -> Self {
        Self {
            instance: instance.to_owned(),
            started: now,
            next_look: now,
            found: Vec::new(),
            logged: Vec::new(),
            danger: None,
            trouble: Trouble::new(instance, "read what was refused of the peers (map REFUSALS)"),
        }
    }

    /// Those of a peer, in a fixed order.
    pub fn of(&self, node: NodeId) -> impl Iterator<Item = Contradiction> + '_ {
        self.found.iter().filter(move |found| found.node == node).map(|found| found.what)
    }

    /// Looks, if that is due or a host is lost: whether its agent lives, as another node, must be known
    /// before anything is taken over from it. Says what must keep this node from being promoted, if that
    /// has changed. `primary`: the node that the record names.
    pub fn look(
        &mut self,
        peers: &Peers,
        primary: Option<NodeId>,
        ports: &impl Ports,
    ) -> Option<Option<Danger>> {
        let now = ports.now();
        let lost = peers.list.iter().any(Peer::is_lost);
        if now < self.next_look && !lost {
            return None;
        }
        self.next_look = now + LOOK_EVERY;
        let mut found = Vec::new();
        for peer in &peers.list {
            let stays_silent = now.since(self.started) > PAGES_STAY_AWAY;
            let told = told(peers, peer, stays_silent).chain(self.refused(now, peers, peer, ports));
            found.extend(told.map(|what| Found { node: peer.node, what }));
        }
        self.log(now, peers, &found);
        self.found = found;
        let concerned = |found: &&Found| primary.is_none_or(|primary| primary == found.node);
        let danger = self.found.iter().filter(concerned).find_map(|found| found.what.danger());
        (std::mem::replace(&mut self.danger, danger) != danger).then_some(danger)
    }

    /// What was refused from the peer's addresses. Where it is heard as well, that was forged, or is of
    /// before.
    fn refused(
        &mut self,
        now: Instant,
        peers: &Peers,
        peer: &Peer,
        ports: &impl Ports,
    ) -> Option<Contradiction> {
        if peer.last_heard().is_some_and(|at| now.since(at) < RECENT) {
            return None;
        }
        peer.addresses.iter().find_map(|&address| {
            let refused = self.trouble.note(now, ports.refused(address))?;
            read(now, peers, peer, &refused)
        })
    }

    /// What is new, and what has ended.
    fn log(&mut self, now: Instant, peers: &Peers, found: &[Found]) {
        let instance = &self.instance;
        self.logged.retain(|(_, at)| now.since(*at) < LOG_EVERY);
        let new = found.iter().filter(|new| !self.found.contains(new));
        for new in new {
            if self.logged.iter().any(|(logged, _)| logged == new) {
                continue;
            }
            let Found { node, what } = new;
            let name = peers.name_of(*node);
            if what.is_harmless() {
                info!(instance, "{name} {what}");
            } else {
                warn!(instance, "{name} {what}");
            }
            self.logged.push((*new, now));
        }
        let ended = self.found.iter().filter(|old| !found.contains(old));
        for Found { node, what } in ended {
            let others = found.iter().filter(|other| other.node == *node).count();
            info!(instance, others, "no longer so: {} {what}", peers.name_of(*node));
        }
    }
}

/// By what the peer's probes say.
fn told<'a>(
    peers: &'a Peers,
    peer: &'a Peer,
    stays_silent: bool,
) -> impl Iterator<Item = Contradiction> + use<> {
    let told = match peer.pages(PAGES_STAY_AWAY) {
        Some(pages) => peers.profile().map(|own| own.compare(pages)),
        None => None,
    };
    let silent = told.is_none() && stays_silent && peer.probes_without_pages();
    let silent = silent.then_some(Contradiction::Untold);
    told.into_iter().flatten().flatten().chain(silent)
}

/// What a refusal means.
fn read(now: Instant, peers: &Peers, peer: &Peer, refused: &Refused) -> Option<Contradiction> {
    let recent = |at: u64| at != 0 && now.since(Instant::from_ns(at)) < RECENT;
    if recent(refused.stray_ns) {
        return stray(now, peers, peer, refused);
    }
    if recent(refused.leap_ns) {
        return Some(Contradiction::Leap);
    }
    if recent(refused.tag_ns) {
        return Some(Contradiction::Key);
    }
    recent(refused.format_ns).then_some(Contradiction::Format)
}

/// Authentic, and not for this node, or not of that peer.
fn stray(now: Instant, peers: &Peers, peer: &Peer, refused: &Refused) -> Option<Contradiction> {
    let own = peers.identity();
    let vrid = u8::try_from(refused.vrid).unwrap_or(0);
    if refused.node == own.node.get() {
        // Whoever sends our own probes back is no node.
        let (first, last) = own.boot_id.split_at(8);
        let word = |octets: &[u8]| u64::from_ne_bytes(std::array::from_fn(|i| octets[i]));
        let same_boot = refused.boot_id == [word(first), word(last)];
        let sent = Instant::from_ns(refused.sequence);
        let echo = same_boot && (now.since(sent) > LIVE || peers.has_sent(refused.sequence));
        return (!echo).then_some(Contradiction::OwnName);
    }
    if vrid != own.vrid.get() {
        return Some(Contradiction::Vrid(vrid));
    }
    if refused.node != peer.node.get() {
        return Some(Contradiction::OtherName(Name::from_pages(refused.name)));
    }
    (refused.to != own.node.get()).then_some(Contradiction::CallsUsOtherwise)
}
