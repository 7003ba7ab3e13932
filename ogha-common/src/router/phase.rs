//! The phases of a router. Each owns its timers.

use core::{fmt, net::IpAddr, time::Duration};

use super::Outcome;
use crate::units::Instant;

/// When the addresses are announced again after the gate opened: a lost frame is a client that
/// talks to the old router.
const ANNOUNCE_AFTER: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// What a router does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not started.
    Initial,
    /// Watches the active router.
    Backup(Backup),
    /// Elected; the gate is not open yet.
    TakingOver(TakingOver),
    /// Elected, and the gate is open.
    Serving(Serving),
    /// Told to end; the gate is being closed.
    Stopping(Stopping),
    /// At its end.
    Stopped,
}

impl Phase {
    /// For people.
    pub(super) const fn name(&self) -> PhaseName {
        match self {
            Self::Initial => PhaseName::Initial,
            Self::Backup(_) => PhaseName::Backup,
            Self::TakingOver(_) => PhaseName::TakingOver,
            Self::Serving(_) => PhaseName::Serving,
            Self::Stopping(_) => PhaseName::Stopping,
            Self::Stopped => PhaseName::Stopped,
        }
    }
}

/// The phase, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhaseName {
    /// Not started.
    Initial,
    /// Watches the active router.
    Backup,
    /// Elected; the gate is not open yet.
    TakingOver,
    /// Elected, and the gate is open.
    Serving,
    /// Told to end; the gate is being closed.
    Stopping,
    /// At its end.
    Stopped,
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initial => "starting",
            Self::Backup => "backup",
            Self::TakingOver => "taking over",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// Watches the active router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backup {
    /// It could not serve when it was last elected: till then it does not try again.
    pub rest_until: Option<Instant>,
}

/// Elected; the gate is not open yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakingOver {
    /// How far it is.
    pub step: TakeoverStep,
    /// The end of the gate's lease.
    pub lease_until: Instant,
    /// When it gives up: who is elected and does not serve keeps others from serving.
    pub give_up_at: Instant,
}

/// How far a takeover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakeoverStep {
    /// The kernel is told that the addresses are claimed. No advert was sent yet.
    Claiming,
    /// The addresses are put on the interface.
    Holding,
    /// The kernel is told to open the gate.
    Opening,
    /// The gate is open since before the start, and its lease is renewed. No advert was sent yet.
    Resuming,
}

impl TakeoverStep {
    /// Whether the other routers have heard of the takeover, or could have.
    pub(super) const fn is_advertised(self) -> bool {
        matches!(self, Self::Holding | Self::Opening)
    }
}

/// Elected, and the gate is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serving {
    /// The end of the gate's lease.
    pub lease_until: Instant,
    /// When the announcements began.
    pub announced_since: Instant,
    /// How many of [`ANNOUNCE_AFTER`] are done.
    pub announced: usize,
    /// A router of lower priority that is active too, and was logged.
    pub rival: Option<IpAddr>,
}

impl Serving {
    pub(super) const fn new(now: Instant, lease_until: Instant) -> Self {
        Self { lease_until, announced_since: now, announced: 0, rival: None }
    }

    /// When the addresses are announced next; `None` if that is done.
    pub(super) fn announce_at(&self) -> Option<Instant> {
        ANNOUNCE_AFTER.get(self.announced).map(|&after| self.announced_since + after)
    }

    /// Whether the addresses were announced so long ago that it should be done again when another
    /// router has claimed them. What was announced a moment ago is about to be repeated anyway.
    pub(super) fn wants_announcing(&self, now: Instant) -> bool {
        now.since(self.announced_since) >= ANNOUNCE_AFTER[2]
    }
}

/// Told to end; the gate is being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopping {
    /// When the end is not put off any longer.
    pub until: Instant,
    /// The other routers know this one as active, and are told that it is not any more.
    pub release: bool,
    /// The addresses are off the interface.
    pub dropped: bool,
}

/// The gate has been ordered closed, and the kernel has not confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closing {
    /// When the order is given again.
    pub retry_at: Instant,
    /// The pause after that.
    pub pause: Duration,
    /// Once the gate is closed the other routers are told that the role is free. Never before: one of
    /// them would take over within its skew, while this gate is still open by its lease.
    pub release: bool,
    /// How the timeline ends then.
    pub outcome: Option<Outcome>,
}
