//! Hangs of the cluster's databases: one is stopped for it by itself, the next one within minutes only
//! after a person has agreed. Whatever it is that makes one database hang after the other, it must not
//! take both nodes down.

use ::core::time::Duration;

use crate::{
    units::Instant,
    wire::probe::{self, Phase},
};

/// How long after a database was stopped for a hang the next stop waits for a person.
pub const PEACE: Duration = Duration::from_secs(600);

/// What is known of hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hangs {
    /// The database here hangs.
    here: bool,
    /// When a database of this cluster was last known to be stopped for a hang.
    stopped: Option<Instant>,
    /// The database here is not stopped before a person agrees.
    waits: bool,
    /// A person has agreed.
    agreed: bool,
}

impl Hangs {
    /// Whether the database here hangs.
    pub const fn here(&self) -> bool {
        self.here
    }

    /// Whether the database here hangs, and is not stopped before a person agrees.
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// The hang here is over, or its database is.
    pub const fn over(&mut self) {
        (self.here, self.waits, self.agreed) = (false, false, false);
    }

    /// A person lets ogha stop the database that hangs.
    pub const fn agree(&mut self) {
        self.agreed = self.waits;
    }

    /// The database here hangs; says whether that is new.
    pub const fn note(&mut self) -> bool {
        !::core::mem::replace(&mut self.here, true)
    }

    /// Whether the database here may be stopped now, and whether it is new that it may not.
    pub fn may_stop(&mut self, now: Instant) -> Result<(), bool> {
        if self.agreed || !self.is_another(now) {
            return Ok(());
        }
        Err(!::core::mem::replace(&mut self.waits, true))
    }

    /// A peer tells of itself.
    pub fn hear(&mut self, now: Instant, status: &probe::Status) {
        if status.hung && status.phase == Phase::Fenced {
            self.stopped = Some(now);
        }
    }

    /// It is about to be stopped.
    pub const fn stop(&mut self, now: Instant) {
        self.stopped = Some(now);
        self.waits = false;
    }

    fn is_another(&self, now: Instant) -> bool {
        self.stopped.is_some_and(|stopped| now.since(stopped) < PEACE)
    }
}
