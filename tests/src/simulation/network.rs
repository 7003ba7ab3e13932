//! The network: who reaches whom, and how late.

use super::{MAX, clock::MS, random::Random};

/// The links between the nodes, and to the arbiter.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// How many faults keep what the one sends from the other.
    pub cuts: [[u8; MAX]; MAX],
    /// How many faults keep a node from the arbiter.
    pub arbiter_cuts: [u8; MAX],
    /// How many faults keep everybody from it.
    pub arbiter_down: u8,
    /// Its answers get lost.
    pub answers_lost: u8,
    /// What it is asked arrives late.
    pub arbiter_slow: u8,
    /// It says at once what makes no sense.
    pub arbiter_nonsense: u8,
    /// So many of a thousand packets get lost.
    pub loss: u64,
    /// The greatest further delay, milliseconds.
    pub delay_ms: u64,
    /// How many faults make a standby's log late.
    pub lags: [u8; MAX],
    /// Packets come twice.
    pub duplicates: u8,
    /// Since when a server of somebody else's receives by that standby's name.
    pub clones: [Option<u64>; MAX],
}

impl Network {
    /// Whether what `from` sends reaches `to`.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] == 0
    }

    /// Whether the two reach each other.
    pub fn joins(&self, a: usize, b: usize) -> bool {
        self.reaches(a, b) && self.reaches(b, a)
    }

    /// Whether a node reaches the arbiter.
    pub fn reaches_arbiter(&self, node: usize) -> bool {
        self.arbiter_cuts[node] == 0 && self.arbiter_down == 0
    }

    /// How long a packet is on its way; `None`: it gets lost.
    pub fn delay(&self, random: &mut Random, from: usize, to: usize) -> Option<u64> {
        if !self.reaches(from, to) || self.loss > 0 && random.permille(self.loss) {
            return None;
        }
        Some(self.latency(random))
    }

    /// How long what is repeated until it arrives is on its way.
    pub fn latency(&self, random: &mut Random) -> u64 {
        random.between(MS / 20, MS) + random.below(self.delay_ms * MS + 1)
    }
}
