//! What an instance takes on from a configuration that was read again.

use ogha_common::failover::{self, Core};

use super::Instance;
use crate::config::{self, Rejoin};

impl Instance<Core> {
    /// Takes on what may change while it runs; `config` differs in nothing else.
    pub fn reconfigure(&mut self, config: &config::Instance) {
        self.core.reconfigure(failover::Settings {
            priority: config.priority,
            switchover_timeout: config.failover.switchover_timeout,
            max_lag: config.failover.tolerance(),
            rejoin: config.failover.rejoin == Rejoin::Auto,
            restart_attempts: config.failover.restart_attempts,
        });
        self.database.set_demotion_timeout(config.failover.switchover_timeout);
        self.hooks.reconfigure(&config.hooks);
        self.config = config.clone();
    }
}
