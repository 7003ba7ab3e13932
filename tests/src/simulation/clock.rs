//! Time: the world's, and each host's own.

/// A millisecond in nanoseconds, the unit of all times here.
pub const MS: u64 = 1_000_000;

/// `CLOCK_BOOTTIME` of a host: begins at its boot, and runs at a rate of its own.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The world's time at which this clock showed `shown`.
    began: u64,
    shown: u64,
    /// How much faster than the world's it runs, parts in 2 to the power of 32.
    faster: i64,
    /// It stands still.
    frozen: bool,
}

impl Clock {
    /// A clock that shows `shown` at that time of the world.
    pub const fn new(began: u64, shown: u64, ppm: i64) -> Self {
        Self { began, shown, faster: (ppm << 32) / 1_000_000, frozen: false }
    }

    /// The same clock, started anew by a boot.
    pub const fn boot(self, now: u64) -> Self {
        Self { began: now, shown: 0, faster: self.faster, frozen: false }
    }

    /// It stands still from now on.
    pub const fn freeze(&mut self, now: u64) {
        self.shown = self.local(now);
        self.frozen = true;
    }

    /// It goes on from where it stands.
    pub const fn thaw(&mut self, now: u64) {
        self.began = now;
        self.frozen = false;
    }

    /// What it shows.
    pub const fn local(&self, now: u64) -> u64 {
        if self.frozen {
            return self.shown;
        }
        let passed = now.saturating_sub(self.began) as i64;
        (self.shown as i64 + passed + self.drift(passed)) as u64
    }

    const fn drift(&self, time: i64) -> i64 {
        ((time as i128 * self.faster as i128) >> 32) as i64
    }

    /// The world's time at which it shows at least that.
    pub const fn real(&self, local: u64) -> u64 {
        if self.frozen {
            return u64::MAX;
        }
        let to_pass = local.saturating_sub(self.shown) as i64;
        let mut real = self.began + (to_pass - self.drift(to_pass)) as u64;
        // Drifts of drifts are nothing but the last few nanoseconds.
        while self.local(real) < local {
            real += local - self.local(real);
        }
        real
    }
}
