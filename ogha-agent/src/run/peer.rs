//! One peer: what the kernel has heard of it, and what the detector makes of that.

use std::{net::IpAddr, time::Duration};

use ogha_common::{
    detector::{AcceptQueue, CheckOutcome, Detector, Facts, Input, Verdict},
    maps::{self, NS_PER_MS, Passage},
    profile::{PAGES, Software},
    units::{Instant, NodeId, Term},
    wire::probe::Status,
};
use tracing::{debug, info, warn};

use super::ports::Ports;

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Its name in the configuration.
    pub name: String,
    /// Its identity on the wire.
    pub node: NodeId,
    /// Where it is: one address a path, the first for adverts too.
    pub addresses: Vec<IpAddr>,
    /// The socket by which each path begins.
    pub sockets: Vec<usize>,
    /// What the kernel had heard of it when it was last polled.
    seen: maps::Peer,
    detector: Detector,
    /// Its database answered when it was last checked.
    database_answers: bool,
    /// Until when this node's own probes have granted it a lease.
    granted_until: Instant,
}

/// What a poll of a peer found, in the order in which the core should hear it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The kernel has had an advert of it, then.
    pub advert: Option<Instant>,
    /// It grants a lease until then, in that term.
    pub granted: Option<(Term, Instant)>,
    /// Its kernel answered; its agent was alive so long ago.
    pub answered: Option<Duration>,
    /// What its agent said, and when it last lived.
    pub said: Option<(Status, Instant)>,
}

impl Peer {
    /// A peer of which nothing was heard.
    pub fn new(name: String, paths: Vec<(IpAddr, usize)>, detector: Detector) -> Self {
        let node = NodeId::of(&name);
        let (addresses, sockets) = paths.into_iter().unzip();
        Self {
            name,
            node,
            addresses,
            sockets,
            seen: maps::Peer::default(),
            detector,
            database_answers: false,
            granted_until: Instant::default(),
        }
    }

    /// What the last agent has heard is no news to this one, and what it granted by its last probe
    /// ends by `granted_until`.
    pub fn start(&mut self, seen: maps::Peer, granted_until: Instant) {
        self.seen = seen;
        self.granted_until = granted_until;
    }

    /// What it has granted, as far as is known.
    pub fn granted(&self) -> (Term, Instant) {
        (Term::new(self.seen.granted_term), Instant::from_ns(self.seen.granted_until_ns))
    }

    /// A probe is about to grant so much.
    pub fn note_grant(&mut self, until: Instant) {
        self.granted_until = self.granted_until.max(until);
    }

    /// Until when this agent's probes have granted it a lease.
    pub fn granted_until(&self) -> Instant {
        self.granted_until
    }

    /// The peer's time as it was last heard, for our probes to echo.
    pub fn their_time_ns(&self) -> u64 {
        self.seen.their_time_ns
    }

    /// What it said last.
    pub fn status(&self) -> Option<Status> {
        self.seen.said.status()
    }

    /// What is thought of it.
    pub fn verdict(&self) -> Verdict {
        self.detector.verdict()
    }

    /// Whether its host is lost: it answers on no path.
    pub fn is_lost(&self) -> bool {
        matches!(self.verdict(), Verdict::HostDead(_))
    }

    /// Whether anything was ever heard of it.
    pub fn was_heard(&self) -> bool {
        self.seen.their_time_ns != 0
    }

    /// When a datagram of it was last believed.
    pub fn last_heard(&self) -> Option<Instant> {
        let last = self.seen.last_probe_ns.max(self.seen.last_reply_ns);
        (last != 0).then(|| Instant::from_ns(last))
    }

    /// What its probes have said of its configuration, unless they have stopped saying it: so does an
    /// older agent that was put in place of a newer one. What a dead one has said stays.
    pub fn pages(&self, patience: Duration) -> Option<&[u64; PAGES]> {
        let since =
            Instant::from_ns(self.seen.last_probe_ns).since(Instant::from_ns(self.seen.paged_ns));
        (self.seen.paged_ns != 0 && since < patience).then_some(&self.seen.pages)
    }

    /// The version of its agent, as far as it says.
    pub fn software(&self) -> Option<Software> {
        (self.seen.pages[0] != 0).then(|| Software::of_page(self.seen.pages[0]))
    }

    /// Whether its kernel is of that boot.
    pub fn is_of_boot(&self, boot_id: [u8; 16]) -> bool {
        let [first, last] = self.seen.replay.boot_id.map(u64::to_ne_bytes);
        self.was_heard() && boot_id == [first, last].concat()[..]
    }

    /// Its probes come, and say nothing of its configuration.
    pub fn probes_without_pages(&self) -> bool {
        self.seen.last_probe_ns != 0 && self.seen.last_probe_ns != self.seen.paged_ns
    }

    /// How long ago its agent last showed that it lives.
    pub fn agent_age(&self, now: Instant) -> Option<Duration> {
        self.seen.agent_age_ns(now.ns()).map(Duration::from_nanos)
    }

    /// Whether its database's port had a listener when its kernel last answered.
    pub fn listening(&self) -> Option<bool> {
        (self.seen.told != 0).then_some(self.seen.listening != 0)
    }

    /// The last round trip.
    pub fn rtt(&self) -> Option<Duration> {
        (self.seen.last_reply_ns != 0).then(|| Duration::from_nanos(self.seen.rtt_ns))
    }

    /// When [`Peer::tick`] is due; `None`: at once.
    pub fn next_timer(&self) -> Option<Instant> {
        self.detector.next_timer()
    }

    /// A probe was sent.
    pub fn sent(&mut self, at: Instant, path: u8) {
        self.judge(at, Input::Sent { path });
    }

    /// Which paths can be used at this end.
    pub fn look_at_paths(&mut self, now: Instant, ports: &impl Ports) {
        for path in 0..self.sockets.len() {
            let usable = ports.is_usable(self.sockets[path]);
            self.judge(now, Input::Usable { path: path as u8, usable });
        }
    }

    /// Time has passed. What the kernel has heard must have been looked at.
    pub fn tick(&mut self, now: Instant, monotonic_ns: u64) {
        self.judge(now, Input::Tick { monotonic_ns });
    }

    /// Whether its database answered when it was last checked.
    pub fn database_answers(&self) -> bool {
        self.database_answers
    }

    /// An active check of its database has ended.
    pub fn checked(&mut self, now: Instant, began: Instant, outcome: CheckOutcome) {
        self.database_answers = outcome == CheckOutcome::Answered;
        self.judge(now, Input::Check { began, outcome });
    }

    /// What is new since the last look, by what the kernel has heard till now.
    ///
    /// A reply is its kernel's word, which may speak for an agent that has died: what it says of
    /// the agent counts only if the agent had shown within `lease` that it lives.
    pub fn poll(
        &mut self,
        now: Instant,
        heard: maps::Peer,
        watched: bool,
        lease: Duration,
    ) -> News {
        let before = std::mem::replace(&mut self.seen, heard);
        let facts = self.facts(watched);
        for (path, (&sent, &old)) in (0..).zip(heard.answered_ns.iter().zip(&before.answered_ns)) {
            if let (true, Some(facts)) = (sent != old, facts) {
                self.judge(now, Input::Reply { path, sent: Instant::from_ns(sent), facts });
            }
        }
        let probed = heard.last_probe_ns != before.last_probe_ns;
        if probed {
            self.judge(now, Input::Heard { path: 0 });
        }
        let answered = heard.last_reply_ns != before.last_reply_ns;
        let spoke = probed || answered && self.beat() < lease;
        let granted = (heard.granted_term, heard.granted_until_ns)
            != (before.granted_term, before.granted_until_ns);
        let advertised = heard.last_advert_ns != before.last_advert_ns;
        let agent_age = self.agent_age(now);
        News {
            advert: advertised.then(|| Instant::from_ns(heard.last_advert_ns)),
            granted: granted.then(|| self.granted()),
            answered: agent_age.filter(|_| answered),
            said: agent_age.filter(|_| spoke).and_then(|age| Some((self.status()?, now - age))),
        }
    }

    /// The age of its agent's heartbeat when its kernel last answered.
    fn beat(&self) -> Duration {
        Duration::from_nanos(u64::from(self.seen.heartbeat_ms) * NS_PER_MS)
    }

    /// What its kernel said in its last reply. `watched`: its database has a port.
    fn facts(&self, watched: bool) -> Option<Facts> {
        let seen = &self.seen;
        let listener = self.listening().filter(|_| watched);
        let queue = AcceptQueue { waiting: seen.queue, limit: seen.queue_limit };
        let gate = u8::try_from(seen.gate).ok().and_then(Passage::from_wire);
        Some(Facts {
            listener,
            queue: (listener == Some(true)).then_some(queue),
            gate: gate.unwrap_or(Passage::Closed),
            agent_age: self.beat(),
            agent_exited: seen.exited != 0,
            status: self.status()?,
        })
    }

    fn judge(&mut self, now: Instant, input: Input) {
        let Some(verdict) = self.detector.handle(now, input) else { return };
        match verdict {
            Verdict::Healthy => info!(peer = self.name, "healthy"),
            Verdict::Suspect(_) | Verdict::AgentSlow { .. } => {
                debug!(peer = self.name, "{verdict}")
            }
            _ => warn!(peer = self.name, "{verdict}"),
        }
    }
}
