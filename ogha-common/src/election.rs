//! The VRRP state machine of RFC 9568 section 6, for one virtual router.
//!
//! It reads no clock and sends nothing: an [`Input`] goes in with the time at which it happened,
//! [`Action`]s come out in the order in which they must be carried out. Only [`Input::Tick`] fires
//! timers: whoever hands in the adverts that have arrived before the tick never takes the lateness
//! of its own timer for the silence of the active router.
//!
//! Some things are ogha's and not the RFC's: a router that is not *eligible* reports the silence
//! of the active router but does not take its place ([`Election::set_eligible`]), and
//! [`Input::Take`] and [`Input::Release`] move the role by order, for here the database decides
//! where it belongs; and [`Election::postpone`] makes up for time in which the router itself did
//! not run. A router that is eligible and gets no such order is plain VRRP.

use core::{net::IpAddr, time::Duration};

use crate::{
    units::{Centis, Instant, Priority},
    wire::vrrp::{self, Version},
};

/// What a virtual router was configured to be (RFC 9568 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// 255 owns the addresses, 1 to 254 are ranks.
    pub priority: Priority,
    /// `Advertisement_Interval`.
    pub advert_interval: Centis,
    /// `Preempt_Mode`: take the role from an active router of lower priority.
    pub preempt: bool,
    /// Version 2 knows no interval but its own.
    pub version: Version,
    /// The primary address of the interface, which breaks ties.
    pub address: IpAddr,
}

/// A valid advert of another router for this virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Advert {
    /// Its priority.
    pub priority: Priority,
    /// Its `Max Advertise Interval`.
    pub interval: Centis,
    /// Its source address.
    pub source: IpAddr,
}

impl Advert {
    /// What election wants to know of a packet.
    #[must_use]
    pub fn new(source: impl Into<IpAddr>, packet: &vrrp::Advert) -> Self {
        Self { priority: packet.priority, interval: packet.interval, source: source.into() }
    }
}

/// What the virtual router learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// It begins.
    Startup,
    /// It ends.
    Shutdown,
    /// A valid advert has arrived.
    Advert(Advert),
    /// Time has passed; [`Election::next_timer`] says when this is due. Early ones do no harm.
    Tick,
    /// Become active now (ogha's own).
    Take,
    /// Stop being active now (ogha's own).
    Release,
}

/// What the virtual router wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send an advert with this priority.
    SendAdvert(Priority),
    /// Tell the LAN that the addresses are here: gratuitous ARP.
    Announce,
    /// The state is now [`State::Active`].
    BecameActive,
    /// The state is now [`State::Backup`].
    BecameBackup,
    /// The active router is silent, and this one is not eligible (ogha's own).
    ActiveDown,
}

/// The states (RFC 9568 section 6.2). Each owns its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not started, or shut down.
    Initialize,
    /// Watches the active router.
    Backup {
        /// When `Active_Down_Timer` fires.
        active_down_at: Instant,
        /// `Active_Adver_Interval`: how often the active router sends.
        active_adver_interval: Centis,
    },
    /// Is the active router.
    Active {
        /// When `Adver_Timer` fires.
        adver_at: Instant,
    },
}

/// Where actions go, in order.
type Sink<'a> = &'a mut dyn FnMut(Action);

/// One virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    config: Config,
    eligible: bool,
    state: State,
}

impl Election {
    /// An eligible router that waits for [`Input::Startup`].
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config, eligible: true, state: State::Initialize }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether this is the active router.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }

    /// When the next [`Input::Tick`] is due; `None` before the start and after the end.
    #[must_use]
    pub const fn next_timer(&self) -> Option<Instant> {
        match self.state {
            State::Initialize => None,
            State::Backup { active_down_at, .. } => Some(active_down_at),
            State::Active { adver_at } => Some(adver_at),
        }
    }

    /// Whether this router may become active by itself. One that may not watches any active
    /// router, whatever its priority, and reports its silence by [`Action::ActiveDown`], again
    /// after each further `Active_Down_Interval`. An active router stays active.
    pub const fn set_eligible(&mut self, eligible: bool) {
        self.eligible = eligible;
    }

    /// Changes the priority, from the next advert and the next timer on.
    pub const fn set_priority(&mut self, priority: Priority) {
        self.config.priority = priority;
    }

    /// This router was not running for so long (ogha's own): what it did not hear meanwhile is no
    /// silence of the active router.
    pub fn postpone(&mut self, by: Duration) {
        if let State::Backup { active_down_at, .. } = &mut self.state {
            *active_down_at = *active_down_at + by;
        }
    }

    /// A backup listens until then, at least (ogha's own).
    pub fn listen_until(&mut self, at: Instant) {
        if let State::Backup { active_down_at, .. } = &mut self.state {
            *active_down_at = (*active_down_at).max(at);
        }
    }

    /// The kernel had an advert of the active router at this time (ogha's own): what it says comes
    /// later, or was lost on the way to this router.
    pub fn heard(&mut self, at: Instant) {
        if let State::Backup { active_down_at, active_adver_interval } = self.state {
            let down_at = at + self.active_down_interval(active_adver_interval);
            self.watch(active_down_at.max(down_at), active_adver_interval);
        }
    }

    /// One input; the actions come out in order.
    pub fn handle(&mut self, now: Instant, input: Input, sink: Sink<'_>) {
        match self.state {
            State::Initialize => self.in_initialize(now, input, sink),
            State::Backup { active_down_at, active_adver_interval } => {
                self.in_backup(now, input, active_down_at, active_adver_interval, sink);
            }
            State::Active { adver_at } => self.in_active(now, input, adver_at, sink),
        }
    }

    /// RFC 9568 section 6.4.1.
    fn in_initialize(&mut self, now: Instant, input: Input, sink: Sink<'_>) {
        if input != Input::Startup {
            return;
        }
        if self.is_owner() && self.eligible {
            self.become_active(now, sink);
        } else {
            self.become_backup(now, self.config.advert_interval, sink);
        }
    }

    /// RFC 9568 section 6.4.2.
    fn in_backup(
        &mut self,
        now: Instant,
        input: Input,
        active_down_at: Instant,
        interval: Centis,
        sink: Sink<'_>,
    ) {
        match input {
            Input::Shutdown => self.state = State::Initialize,
            Input::Take => self.become_active(now, sink),
            Input::Tick if now < active_down_at => {}
            Input::Tick if self.eligible => self.become_active(now, sink),
            Input::Tick => {
                self.watch(now + self.active_down_interval(interval), interval);
                sink(Action::ActiveDown);
            }
            Input::Advert(_) if self.is_owner() => {}
            Input::Advert(advert) => self.advert_in_backup(now, advert, interval),
            Input::Startup | Input::Release => {}
        }
    }

    fn advert_in_backup(&mut self, now: Instant, advert: Advert, interval: Centis) {
        if advert.priority == Priority::RELEASE {
            // The active router gives up: the best backup is the first to be heard.
            self.watch(now + self.skew(interval), interval);
        } else if !self.preempts() || advert.priority >= self.config.priority {
            let interval = self.learn(advert);
            self.watch(now + self.active_down_interval(interval), interval);
        }
        // Else a lower router is active: discarded, and the timer runs on until it fires.
    }

    /// RFC 9568 section 6.4.3.
    fn in_active(&mut self, now: Instant, input: Input, adver_at: Instant, sink: Sink<'_>) {
        match input {
            Input::Shutdown => {
                sink(Action::SendAdvert(Priority::RELEASE));
                self.state = State::Initialize;
            }
            Input::Release => {
                sink(Action::SendAdvert(Priority::RELEASE));
                self.become_backup(now, self.config.advert_interval, sink);
            }
            Input::Tick if now >= adver_at => {
                sink(Action::SendAdvert(self.config.priority));
                // From when it was due, so that late ticks do not add up; an interval that was
                // missed altogether is not made up for.
                let due = adver_at + self.config.advert_interval.duration();
                let adver_at = if due > now { due } else { self.adver_after(now) };
                self.state = State::Active { adver_at };
            }
            Input::Advert(_) if self.is_owner() => {}
            Input::Advert(advert) => self.advert_in_active(now, advert, sink),
            Input::Startup | Input::Take | Input::Tick => {}
        }
    }

    fn advert_in_active(&mut self, now: Instant, advert: Advert, sink: Sink<'_>) {
        let theirs = (advert.priority, advert.source);
        if advert.priority == Priority::RELEASE {
            sink(Action::SendAdvert(self.config.priority));
            self.state = State::Active { adver_at: self.adver_after(now) };
        } else if theirs > (self.config.priority, self.config.address) {
            let interval = self.learn(advert);
            self.become_backup(now, interval, sink);
        } else if self.config.version == Version::V3 {
            // New in RFC 9568: the other one, and the bridges, are told at once. RFC 3768
            // section 6.4.3 discards quietly.
            sink(Action::SendAdvert(self.config.priority));
        }
    }

    /// The order of RFC 9568 section 6.4.2: advert, announcement, timer, state.
    fn become_active(&mut self, now: Instant, sink: Sink<'_>) {
        sink(Action::SendAdvert(self.config.priority));
        sink(Action::Announce);
        self.state = State::Active { adver_at: self.adver_after(now) };
        sink(Action::BecameActive);
    }

    fn become_backup(&mut self, now: Instant, interval: Centis, sink: Sink<'_>) {
        self.watch(now + self.active_down_interval(interval), interval);
        sink(Action::BecameBackup);
    }

    fn watch(&mut self, active_down_at: Instant, active_adver_interval: Centis) {
        self.state = State::Backup { active_down_at, active_adver_interval };
    }

    /// `Active_Adver_Interval` as of this advert (RFC 9568 section 6.1). All routers of version 2
    /// have one interval (RFC 3768 section 7.1).
    fn learn(&self, advert: Advert) -> Centis {
        match self.config.version {
            Version::V2 => self.config.advert_interval,
            Version::V3 => advert.interval,
        }
    }

    /// `Active_Down_Interval`: 3 * `Active_Adver_Interval` + `Skew_Time` (RFC 9568 section 6.1).
    fn active_down_interval(&self, interval: Centis) -> Duration {
        interval.duration() * 3 + self.skew(interval)
    }

    /// RFC 9568 section 6.1. Version 2 takes `(256 - priority) / 256` seconds (RFC 3768 section
    /// 6.1), which is the same at its usual interval of one second.
    fn skew(&self, interval: Centis) -> Duration {
        self.config.priority.skew(match self.config.version {
            Version::V2 => Centis::ONE_SECOND,
            Version::V3 => interval,
        })
    }

    fn adver_after(&self, now: Instant) -> Instant {
        now + self.config.advert_interval.duration()
    }

    /// A router that may not become active has nothing to preempt for: to let its timer run out
    /// under an active router of lower priority would be to report a silence that is none.
    fn preempts(&self) -> bool {
        self.config.preempt && self.eligible
    }

    /// The owner of the addresses listens to nobody (RFC 9568 section 7.1).
    fn is_owner(&self) -> bool {
        self.config.priority == Priority::OWNER
    }
}

#[cfg(test)]
mod tests;
