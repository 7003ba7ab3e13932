//! The transitions of a router.

use core::time::Duration;

use super::{
    Action, Cause, FIRST_LISTENING, Found, Input, Notice, Other, Outcome, Router, Sink, Step,
    lease,
    phase::{Backup, Closing, Phase, Serving, Stopping, TakeoverStep, TakingOver},
};
use crate::{
    election::{self, Advert},
    failover::GateOrder,
    units::{Instant, Priority},
    wire::vrrp::Version,
};

/// The first pause before an order to close the gate is given again, or before a router that could not
/// serve tries again. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So long after the last word that nothing enforces the gate, a router wants the role again.
const UNGUARDED_REST: Duration = Duration::from_secs(1);
/// How long a takeover may take. It is a call of the kernel, and one of netlink for each address.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(1);
/// How long a stop waits for the addresses to be taken off the interface, with the gate closed already.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// What the election wants, as far as it is its own business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Elected {
    advert: Option<Priority>,
    active: Option<bool>,
}

impl Router {
    /// Changes the priority, from the next advert and the next timer on.
    pub const fn set_priority(&mut self, priority: Priority) {
        self.election.set_priority(priority);
    }

    /// One input; the actions come out in order.
    pub fn handle(&mut self, now: Instant, input: Input, sink: Sink<'_>) {
        self.make_up_for_pause(now);
        self.lapse_if_late(now, sink);
        match input {
            Input::Started(found) => self.start(now, found, sink),
            Input::Tick => self.tick(now, sink),
            Input::Advert(advert) => self.heard(now, advert, sink),
            Input::GateSet(order) => self.gate_set(now, order, sink),
            Input::GateFailed(GateOrder::Close) => {}
            Input::GateFailed(_) => self.give_up(now, Notice::GateRefused, sink),
            Input::Renewed { until } => self.renewed(until),
            Input::Lapsed => self.lapse(now, Cause::Lapsed, sink),
            Input::Unguarded => self.unguard(now, sink),
            Input::Risen => self.rise(now, sink),
            Input::AddressesHeld => self.addresses_held(sink),
            Input::AddressesDropped => self.addresses_dropped(now, sink),
            Input::Stopping => self.stop(now, sink),
        }
    }

    fn start(&mut self, now: Instant, found: Found, sink: Sink<'_>) {
        if self.phase != Phase::Initial {
            return;
        }
        self.awake.at = now;
        self.phase = Phase::Backup(Backup::default());
        let mut elected = self.elect(now, election::Input::Startup);
        if found == Found::Open {
            elected = self.elect(now, election::Input::Take);
        } else {
            self.election.listen_until(now + FIRST_LISTENING);
        }
        match (elected.active, found) {
            (Some(true), Found::Open) => self.resume(now, sink),
            (Some(true), Found::Shut) => self.take_over(now, sink),
            _ => {
                // What a former agent has left: a gate of another lease, addresses.
                self.close(now, false, None, sink);
                sink(Action::DropAddresses);
            }
        }
    }

    fn tick(&mut self, now: Instant, sink: Sink<'_>) {
        self.close_again(now, sink);
        match self.phase {
            Phase::Initial | Phase::Stopped => {}
            Phase::Backup(backup) => {
                if backup.rest_until.is_some_and(|until| now >= until) {
                    self.phase = Phase::Backup(Backup::default());
                    self.election.set_eligible(true);
                }
                if self.takeover_at().is_some_and(|due| now >= due) {
                    self.elect_and_follow(now, election::Input::Tick, sink);
                }
            }
            Phase::TakingOver(takeover) if now >= takeover.give_up_at => {
                self.give_up(now, Notice::AddressesRefused, sink);
            }
            Phase::TakingOver(_) => self.elect_and_follow(now, election::Input::Tick, sink),
            Phase::Serving(_) => {
                self.elect_and_follow(now, election::Input::Tick, sink);
                self.announce_if_due(now, sink);
            }
            Phase::Stopping(_) => self.finish_stop(now, sink),
        }
    }

    fn heard(&mut self, now: Instant, advert: Advert, sink: Sink<'_>) {
        if matches!(self.phase, Phase::Initial | Phase::Stopping(_) | Phase::Stopped) {
            return;
        }
        let was_elected = self.election.is_active();
        self.note(now, advert);
        self.elect_and_follow(now, election::Input::Advert(advert), sink);
        if was_elected && self.election.is_active() && advert.priority != Priority::RELEASE {
            self.beside_a_rival(now, advert, sink);
        }
        // A sign of life of the router that is to be preempted: it hears this one, and closes its gate.
        let due = self.election.next_timer().is_some_and(|due| now >= due);
        if due && matches!(self.phase, Phase::Backup(_)) {
            self.elect_and_follow(now, election::Input::Tick, sink);
        }
    }

    /// Remembers who was heard. Its interval says when it is silent: three of them later, which is as
    /// long as its gate may be open.
    fn note(&mut self, now: Instant, advert: Advert) {
        let before = self.other.filter(|other| other.source == advert.source);
        if advert.priority == Priority::RELEASE {
            let priority = before.map_or(advert.priority, |other| other.priority);
            // Another one that was heard may have its gate open still.
            let silent_at = match self.other {
                Some(other) if other.source != advert.source => other.silent_at,
                _ => now,
            };
            let (source, at, released) = (advert.source, now, true);
            self.other = Some(Other { source, priority, at, silent_at, released });
            return;
        }
        self.awake.made_up = false;
        let interval = match self.config.version {
            Version::V2 => self.config.advert_interval,
            Version::V3 => advert.interval,
        };
        let silent_at = now + interval.duration() * 3 + self.config.priority.skew(interval);
        let silent_at = self.other.map_or(silent_at, |other| other.silent_at.max(silent_at));
        self.other = Some(Other {
            source: advert.source,
            priority: advert.priority,
            at: now,
            silent_at,
            released: false,
        });
    }

    /// A router of lower priority is active too, and has told the LAN that the addresses are there.
    fn beside_a_rival(&mut self, now: Instant, advert: Advert, sink: Sink<'_>) {
        let Phase::Serving(serving) = &mut self.phase else { return };
        if serving.rival != Some(advert.source) {
            serving.rival = Some(advert.source);
            sink(Action::Notice(Notice::Rival(advert.source, advert.priority)));
        }
        if serving.wants_announcing(now) {
            (serving.announced_since, serving.announced) = (now, 0);
            sink(Action::Announce);
        }
    }

    fn elect(&mut self, now: Instant, input: election::Input) -> Elected {
        let mut elected = Elected::default();
        self.election.handle(now, input, &mut |action| match action {
            election::Action::SendAdvert(priority) => elected.advert = Some(priority),
            election::Action::BecameActive => elected.active = Some(true),
            election::Action::BecameBackup => elected.active = Some(false),
            // The addresses are announced when the gate is open: a closed one lets no announcement
            // pass. The silence is no news to a router that rests.
            election::Action::Announce | election::Action::ActiveDown => {}
        });
        elected
    }

    /// Hands an input to the election, and does what it says.
    fn elect_and_follow(&mut self, now: Instant, input: election::Input, sink: Sink<'_>) {
        let elected = self.elect(now, input);
        match elected.active {
            Some(true) => self.take_over(now, sink),
            Some(false) => self.yield_role(now, sink),
            None => {
                if let Some(priority) = elected.advert {
                    self.advertise(now, priority, sink);
                }
            }
        }
    }

    /// An advert renews the lease, which is counted from before it goes out: nobody has heard it earlier.
    fn advertise(&mut self, now: Instant, priority: Priority, sink: Sink<'_>) {
        let advertised = match self.phase {
            Phase::TakingOver(takeover) => takeover.step.is_advertised(),
            Phase::Serving(_) => true,
            _ => false,
        };
        if advertised {
            sink(Action::Renew { until: now + lease(self.config.advert_interval) });
            sink(Action::SendAdvert(priority));
        }
    }

    /// Elected: claim the addresses first, then tell the other routers, so that none yields to
    /// a router that cannot serve.
    fn take_over(&mut self, now: Instant, sink: Sink<'_>) {
        let (cause, at) = match self.other {
            None => (Cause::NobodyHeard, now),
            Some(other) if other.released => (Cause::Released(other.source), other.at),
            Some(other) if now < other.silent_at => {
                (Cause::Preempts(other.source, other.priority), other.at)
            }
            Some(other) => (Cause::Silent(other.source), other.at),
        };
        self.begin(cause, at, sink);
        self.enter_takeover(now, TakeoverStep::Claiming, GateOrder::Claim, sink);
    }

    /// The gate is open since before the start.
    fn resume(&mut self, now: Instant, sink: Sink<'_>) {
        self.begin(Cause::Resumed, now, sink);
        sink(Action::HoldAddresses);
        self.enter_takeover(now, TakeoverStep::Resuming, GateOrder::Open, sink);
    }

    fn enter_takeover(
        &mut self,
        now: Instant,
        step: TakeoverStep,
        order: GateOrder,
        sink: Sink<'_>,
    ) {
        self.closing = None;
        let until = now + lease(self.config.advert_interval);
        let give_up_at = now + TAKEOVER_PATIENCE;
        self.phase = Phase::TakingOver(TakingOver { step, lease_until: until, give_up_at });
        sink(Action::SetGate { order, until });
    }

    fn gate_set(&mut self, now: Instant, order: GateOrder, sink: Sink<'_>) {
        match (order, &mut self.phase) {
            (GateOrder::Close, _) => self.closed(now, sink),
            (GateOrder::Claim, Phase::TakingOver(takeover))
                if takeover.step == TakeoverStep::Claiming =>
            {
                takeover.step = TakeoverStep::Holding;
                sink(Action::Step(Step::Claimed));
                sink(Action::SendAdvert(self.config.priority));
                sink(Action::HoldAddresses);
            }
            (GateOrder::Open, Phase::TakingOver(takeover))
                if matches!(takeover.step, TakeoverStep::Opening | TakeoverStep::Resuming) =>
            {
                let takeover = *takeover;
                if takeover.step == TakeoverStep::Resuming {
                    sink(Action::SendAdvert(self.config.priority));
                }
                sink(Action::Step(Step::GateOpen));
                sink(Action::Announce);
                sink(Action::Step(Step::Announced));
                self.phase = Phase::Serving(Serving::new(now, takeover.lease_until));
                self.end(Outcome::Serving, sink);
            }
            // Of an order that was taken back meanwhile.
            _ => {}
        }
    }

    fn addresses_held(&mut self, sink: Sink<'_>) {
        if let Phase::TakingOver(takeover) = &mut self.phase
            && takeover.step == TakeoverStep::Holding
        {
            takeover.step = TakeoverStep::Opening;
            sink(Action::Step(Step::AddressesHeld));
            sink(Action::SetGate { order: GateOrder::Open, until: takeover.lease_until });
        }
    }

    fn renewed(&mut self, until: Instant) {
        match &mut self.phase {
            Phase::TakingOver(takeover) => takeover.lease_until = until,
            Phase::Serving(serving) => {
                serving.lease_until = until;
                self.failures = 0;
            }
            _ => {}
        }
    }

    fn announce_if_due(&mut self, now: Instant, sink: Sink<'_>) {
        if let Phase::Serving(serving) = &mut self.phase
            && serving.announce_at().is_some_and(|at| now >= at)
        {
            serving.announced += 1;
            sink(Action::Announce);
        }
    }

    /// Another router is active.
    fn yield_role(&mut self, now: Instant, sink: Sink<'_>) {
        if let (Phase::Serving(_), Some(other)) = (self.phase, self.other) {
            self.begin(Cause::Outranked(other.source, other.priority), now, sink);
        }
        self.become_backup(now, Backup::default(), false, sink);
    }

    /// The lease has ended: others may have taken over, or may do so at any moment.
    fn lapse_if_late(&mut self, now: Instant, sink: Sink<'_>) {
        let until = match self.phase {
            Phase::TakingOver(takeover) => takeover.lease_until,
            Phase::Serving(serving) => serving.lease_until,
            _ => return,
        };
        if now >= until {
            self.lapse(now, Cause::Lapsed, sink);
        }
    }

    /// No fence without programs: gives up the role, and wants none for as long as that is said again and
    /// again.
    fn unguard(&mut self, now: Instant, sink: Sink<'_>) {
        if let Phase::Backup(_) = self.phase {
            self.failures = 0;
            self.election.set_eligible(false);
            self.phase = Phase::Backup(Backup { rest_until: Some(now + UNGUARDED_REST) });
        } else {
            self.lapse(now, Cause::Unguarded, sink);
        }
    }

    /// RFC 9568's interface event: what the LAN knows of the addresses is told again, and what is not yet
    /// decided goes on as it was.
    fn rise(&mut self, now: Instant, sink: Sink<'_>) {
        if let Phase::Serving(serving) = &mut self.phase {
            (serving.announced_since, serving.announced) = (now, 0);
            sink(Action::SendAdvert(self.config.priority));
            sink(Action::Announce);
        }
    }

    fn lapse(&mut self, now: Instant, cause: Cause, sink: Sink<'_>) {
        let advertised = match self.phase {
            Phase::Serving(_) => {
                self.begin(cause, now, sink);
                true
            }
            Phase::TakingOver(takeover) => takeover.step.is_advertised(),
            _ => return,
        };
        self.elect(now, election::Input::Release);
        self.become_backup(now, Backup::default(), advertised, sink);
    }

    /// Elected, but unable to serve. Others may be able to.
    fn give_up(&mut self, now: Instant, why: Notice, sink: Sink<'_>) {
        let Phase::TakingOver(takeover) = self.phase else { return };
        if self.failures == 0 {
            sink(Action::Notice(why));
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.elect(now, election::Input::Release);
        self.election.set_eligible(false);
        let rest = Backup { rest_until: Some(now + pause.min(LONGEST_PAUSE)) };
        self.become_backup(now, rest, takeover.step.is_advertised(), sink);
    }

    fn become_backup(&mut self, now: Instant, backup: Backup, release: bool, sink: Sink<'_>) {
        self.phase = Phase::Backup(backup);
        self.awake.at = now;
        self.close(now, release, Some(Outcome::Backup), sink);
        sink(Action::DropAddresses);
    }

    /// Orders the gate closed, again until the kernel has it.
    fn close(&mut self, now: Instant, release: bool, outcome: Option<Outcome>, sink: Sink<'_>) {
        let (retry_at, pause) = (now + FIRST_PAUSE, FIRST_PAUSE * 2);
        self.closing = Some(Closing { retry_at, pause, release, outcome });
        sink(Action::SetGate { order: GateOrder::Close, until: now });
    }

    fn close_again(&mut self, now: Instant, sink: Sink<'_>) {
        if let Some(closing) = &mut self.closing
            && now >= closing.retry_at
        {
            closing.retry_at = now + closing.pause;
            closing.pause = (closing.pause * 2).min(LONGEST_PAUSE);
            sink(Action::SetGate { order: GateOrder::Close, until: now });
        }
    }

    fn closed(&mut self, now: Instant, sink: Sink<'_>) {
        let Some(closing) = self.closing.take() else { return };
        if closing.outcome.is_some() {
            sink(Action::Step(Step::GateClosed));
        }
        if matches!(self.phase, Phase::Stopping(_)) {
            return self.finish_stop(now, sink);
        }
        if closing.release {
            sink(Action::SendAdvert(Priority::RELEASE));
            sink(Action::Step(Step::Released));
        }
        if let Some(outcome) = closing.outcome {
            self.end(outcome, sink);
        }
    }

    fn addresses_dropped(&mut self, now: Instant, sink: Sink<'_>) {
        if let Phase::Stopping(stopping) = &mut self.phase {
            stopping.dropped = true;
            sink(Action::Step(Step::AddressesDropped));
            self.finish_stop(now, sink);
        }
    }

    /// The gate is closed, the addresses go, and then the other routers hear of it: the best of them is
    /// active after its skew. A backup has nothing to say (RFC 9568 section 6.4.2).
    fn stop(&mut self, now: Instant, sink: Sink<'_>) {
        let release = match self.phase {
            Phase::Serving(_) => true,
            Phase::TakingOver(takeover) => takeover.step != TakeoverStep::Claiming,
            Phase::Stopping(_) => return,
            Phase::Initial | Phase::Backup(_) | Phase::Stopped => {
                self.elect(now, election::Input::Shutdown);
                self.phase = Phase::Stopped;
                return self.end(Outcome::Stopped, sink);
            }
        };
        self.elect(now, election::Input::Shutdown);
        self.begin(Cause::Stopping, now, sink);
        let until = now + STOP_PATIENCE;
        self.phase = Phase::Stopping(Stopping { until, release, dropped: false });
        self.close(now, false, Some(Outcome::Stopped), sink);
        sink(Action::DropAddresses);
    }

    fn finish_stop(&mut self, now: Instant, sink: Sink<'_>) {
        let Phase::Stopping(stopping) = self.phase else { return };
        let closed = self.closing.is_none();
        if now < stopping.until && !(closed && stopping.dropped) {
            return;
        }
        // A gate that cannot be closed lapses before the others take over by the silence.
        if closed && stopping.release {
            sink(Action::SendAdvert(Priority::RELEASE));
            sink(Action::Step(Step::Released));
        }
        self.closing = None;
        self.phase = Phase::Stopped;
        self.end(Outcome::Stopped, sink);
    }

    /// What was not heard while this router or its host stood still is no silence: once it runs again,
    /// it hears out one advert. Only once in a silence, for a machine that is always late must
    /// come to an end. A pause of less than two intervals costs at most one advert of the three.
    fn make_up_for_pause(&mut self, now: Instant) {
        let paused = now.since(self.awake.at);
        self.awake.at = now;
        let interval = self.watched_interval();
        let watches = matches!(self.phase, Phase::Backup(_)) && !self.awake.made_up;
        if watches && paused >= interval.duration() * 2 {
            self.awake.made_up = true;
            let skew = self.config.priority.skew(interval);
            self.election.listen_until(now + interval.duration() + skew);
        }
    }

    fn begin(&mut self, cause: Cause, at: Instant, sink: Sink<'_>) {
        self.end(Outcome::Backup, sink);
        self.in_timeline = true;
        sink(Action::Begin { cause, at });
    }

    fn end(&mut self, outcome: Outcome, sink: Sink<'_>) {
        if core::mem::take(&mut self.in_timeline) {
            sink(Action::End(outcome));
        }
    }
}
