//! Settings that may change while the core runs: none of them is a part of what was granted or recorded.

use core::time::Duration;

use super::Core;
use crate::units::Priority;

/// What may change while the core runs. See [`Config`](super::Config) for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The rank among nodes that are equal otherwise.
    pub priority: Priority,
    /// How long a switchover may take. One that is under way keeps its deadline.
    pub switchover_timeout: Duration,
    /// What may be lost where replication is asynchronous; ignored where it is not.
    pub max_lag: Option<u64>,
    /// Whether a database that lost its role rejoins by itself.
    pub rejoin: bool,
    /// How often a database that died is started again in its place.
    pub restart_attempts: u8,
}

impl Core {
    /// Takes these from now on. Whether replication is synchronous does not change.
    pub fn reconfigure(&mut self, settings: Settings) {
        let config = &mut self.known.config;
        config.priority = settings.priority;
        config.election.priority = settings.priority;
        config.switchover_timeout = settings.switchover_timeout;
        config.max_lag = config.max_lag.and(settings.max_lag.or(config.max_lag));
        config.rejoin = settings.rejoin;
        config.restart_attempts = settings.restart_attempts;
        self.election.set_priority(settings.priority);
    }
}
