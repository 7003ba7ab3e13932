//! Time: the world's, and each host's own.

/// A millisecond in nanoseconds, the unit of all times here.
pub const MS: u64 = 1_000_000;

/// `CLOCK_BOOTTIME` of a host: begins at its boot, and runs at a rate of its own.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The world's time at which this clock showed `shown`.
    began: u64,
    shown: u64,
    /// How much faster than the world's it runs, parts in a million.
    ppm: i64,
}

impl Clock {
    /// A clock that shows `shown` at that time of the world.
    pub const fn new(began: u64, shown: u64, ppm: i64) -> Self {
        Self { began, shown, ppm }
    }

    /// The same clock, started anew by a boot.
    pub const fn boot(self, now: u64) -> Self {
        Self { began: now, shown: 0, ppm: self.ppm }
    }

    /// What it shows.
    pub const fn local(&self, now: u64) -> u64 {
        let passed = now.saturating_sub(self.began) as i64;
        self.shown + (passed + passed / 1_000_000 * self.ppm + passed % 1_000_000 * self.ppm / 1_000_000) as u64
    }

    /// The world's time at which it shows at least that.
    pub const fn real(&self, local: u64) -> u64 {
        let to_pass = local.saturating_sub(self.shown) as i64;
        let mut real = self.began + (to_pass - to_pass / 1_000_000 * self.ppm) as u64;
        // Two corrections are enough for the rates and times that there are.
        let mut tries = 0;
        while tries < 3 {
            let shown = self.local(real);
            if shown < local {
                real += local - shown + 1;
            }
            tries += 1;
        }
        real
    }
}
