//! A virtual router without a database: RFC 9568's election over the kernel's gate.
//!
//! Nothing else decides: there is no cluster record, no term, no disk and no probe. A peer is a router
//! like any other, known by its adverts alone. The machine reads no clock and does no I/O: an
//! [`Input`] goes in with the time at which it happened, [`Action`]s come out in the order in which
//! they must be carried out.
//!
//! # What the gate adds to the RFC
//!
//! The gate outlives the agent, so it has a lease ([`lease`]). Each advert renews it, and nothing else
//! does. The lease is a little shorter than three advert intervals, and a backup waits for three
//! intervals and its skew (`Active_Down_Interval`) from the last advert that it heard. So the gate
//! of an agent that is dead or that stands still has lapsed before a backup that heard its last
//! advert opens its own; and an agent that is late, but sends its adverts, keeps its gate.
//!
//! Three rules follow from that, none of which another router can tell from the RFC's own behaviour:
//!
//! * A router whose lease has ended is active no more: the others may have elected another. It says
//!   so (priority 0), and is a backup. It never opens a gate again that has lapsed.
//! * One that preempts waits for a sign of life of the router that it preempts, which is never longer
//!   than one of its intervals, or for its silence. Else it could not know whether that router
//!   will hear it and close its gate, or is dead and leaves its gate to its lease.
//! * An agent that starts and finds its own gate open, with a live lease, goes on where the last one
//!   stopped. Nobody who heard the last advert takes over before that lease ends. A router of higher
//!   priority that has preempted meanwhile is heard within one of its intervals, and is yielded to. With
//!   the lease over, the agent starts as a backup, like any router.

mod io;
mod machine;
mod phase;
#[cfg(test)]
mod tests;

use core::{net::IpAddr, time::Duration};

use self::phase::{Closing, Phase};
pub use self::{
    io::{Action, Cause, Found, Input, Notice, Outcome, Step},
    phase::PhaseName,
};
use crate::{
    election::{Config, Election, State},
    units::{Centis, Instant},
};

/// What a backup hears out at its start, at least. It does not know the active router's interval yet:
/// one that sends an advert each second, as the RFC has it by default, would be taken for
/// dead by a router that is configured for faster adverts. Two of them, for one may be lost.
const FIRST_LISTENING: Duration = Duration::from_secs(2);

/// Part of the lease that is left for clocks that run at different rates (1 part in 1000 each).
const CLOCK_MARGIN: u32 = 256;

/// How long an advert keeps the gate open: a little less than the shortest time after which a backup
/// that heard it takes over, which is three intervals and a skew (RFC 9568 section 6.1).
#[must_use]
pub fn lease(advert_interval: Centis) -> Duration {
    let three = advert_interval.duration() * 3;
    three - three / CLOCK_MARGIN
}

/// Where actions go, in order.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Action);

/// One virtual router, and its gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    config: Config,
    election: Election,
    phase: Phase,
    /// The gate has been ordered closed, and the kernel has not confirmed it yet.
    closing: Option<Closing>,
    /// The router that was heard last.
    other: Option<Other>,
    /// How often in a row this router could not serve though it was elected.
    failures: u32,
    /// An event timeline has begun, and not ended.
    in_timeline: bool,
    /// Whether this router, and its host, ran all the time.
    awake: Awake,
}

/// Another router, by its last advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its address.
    pub source: IpAddr,
    /// Its priority, in its last advert but for the one by which it gave up the role.
    pub priority: crate::units::Priority,
    /// When it was heard.
    pub at: Instant,
    /// When it is silent: its gate, if it has one, has lapsed.
    pub silent_at: Instant,
    /// It has given up the role.
    pub released: bool,
}

/// When this router last ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Awake {
    at: Instant,
    /// A pause was made up for since an advert was heard.
    made_up: bool,
}

impl Router {
    /// A router that waits for [`Input::Started`].
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            election: Election::new(config),
            phase: Phase::Initial,
            closing: None,
            other: None,
            failures: 0,
            in_timeline: false,
            awake: Awake { at: Instant::from_ns(0), made_up: false },
        }
    }

    /// The state of the election.
    #[must_use]
    pub const fn election(&self) -> State {
        self.election.state()
    }

    /// What the router does, for people.
    #[must_use]
    pub const fn phase(&self) -> PhaseName {
        self.phase.name()
    }

    /// The router that was heard last.
    #[must_use]
    pub const fn other(&self) -> Option<Other> {
        self.other
    }

    /// Whether it has stopped: nothing more comes of it.
    #[must_use]
    pub const fn has_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// When the next [`Input::Tick`] is due; `None` before the start and after the end. Early ones do
    /// no harm.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Initial | Phase::Stopped => return None,
            Phase::Backup(backup) => {
                // Woken each interval, so that a pause of the host is noticed.
                let awake = self.awake.at + self.watched_interval().duration();
                earliest(self.takeover_at(), Some(awake).into_iter().chain(backup.rest_until))
            }
            Phase::TakingOver(takeover) => {
                earliest(self.election.next_timer(), [takeover.give_up_at, takeover.lease_until])
            }
            Phase::Serving(serving) => earliest(
                self.election.next_timer(),
                [serving.lease_until].into_iter().chain(serving.announce_at()),
            ),
            Phase::Stopping(stopping) => Some(stopping.until),
        };
        earliest(phase, self.closing.map(|closing| closing.retry_at))
    }

    /// When this backup takes over if nothing is heard: when `Active_Down_Timer` fires, and then not
    /// beside a router that may still have an open gate and an agent that cannot close it.
    fn takeover_at(&self) -> Option<Instant> {
        let due = self.election.next_timer()?;
        Some(self.other.map_or(due, |other| due.max(other.silent_at)))
    }

    /// How often an advert of the active router is to be expected.
    const fn watched_interval(&self) -> Centis {
        match self.election.state() {
            State::Backup { active_adver_interval, .. } => active_adver_interval,
            State::Initialize | State::Active { .. } => self.config.advert_interval,
        }
    }
}

fn earliest(first: Option<Instant>, more: impl IntoIterator<Item = Instant>) -> Option<Instant> {
    more.into_iter().fold(first, |least, at| Some(least.map_or(at, |least| least.min(at))))
}
