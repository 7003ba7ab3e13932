//! Protection against replay: an authentic packet counts once.

use core::hint::black_box;

use crate::wire::probe::{MAX_PATHS, ProbeKind};

/// How many earlier boots of a peer are remembered: as many as may have ended within the time in
/// which an echo counts as fresh.
const REMEMBERED: usize = 2;

/// What a packet is to one who has heard others of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Novelty {
    /// Never heard before.
    New = 1,
    /// Of a boot that is not known yet, and nothing shows that it is not a recording.
    Unproven = 2,
    /// Heard before, or older than what was.
    Old = 3,
}

/// What has been heard of one sender. A map holds it, and the kernel's program decides by it.
///
/// Within a boot, sequence numbers grow; those of probes and of replies each by themselves, for
/// the agent makes the ones and its kernel the others, and those of each path, for on the way one
/// may overtake the other. A new boot
/// begins with a packet that echoes a recent time of ours, so that no recording can take the
/// sender's place; and it closes the one before it for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Replay {
    /// The sender's boot, as it goes over the wire; 0: nothing was heard yet.
    pub boot_id: [u64; 2],
    /// The last sequence number of a probe on each path.
    pub probe: [u64; MAX_PATHS],
    /// The last sequence number of a reply on each path.
    pub reply: [u64; MAX_PATHS],
    past: [[u64; 2]; REMEMBERED],
    /// Where the next boot that ends is remembered.
    next: u64,
}

impl Replay {
    /// Whether the packet is new; if so, it is never again. `path` is below [`MAX_PATHS`]. `fresh`: it
    /// echoes a recent time of ours. Nothing is new of the boot 0, which no host has.
    #[inline(always)]
    pub const fn accept(
        &mut self,
        boot_id: [u64; 2],
        kind: ProbeKind,
        path: u8,
        sequence: u64,
        fresh: bool,
    ) -> Novelty {
        if !same(self.boot_id, boot_id) {
            if self.is_over(boot_id) {
                return Novelty::Old;
            }
            if !fresh {
                return Novelty::Unproven;
            }
            self.begin(boot_id);
        }
        let numbers = match kind {
            ProbeKind::Probe => &mut self.probe,
            ProbeKind::Reply => &mut self.reply,
        };
        let last = &mut numbers[path as usize & (MAX_PATHS - 1)];
        if sequence <= *last {
            return Novelty::Old;
        }
        *last = sequence;
        Novelty::New
    }

    #[inline(always)]
    const fn is_over(&self, boot_id: [u64; 2]) -> bool {
        same(boot_id, [0; 2]) || same(self.past[0], boot_id) || same(self.past[1], boot_id)
    }

    #[inline(always)]
    const fn begin(&mut self, boot_id: [u64; 2]) {
        // The mask is for the kernel's verifier, which must see that the index is in bounds.
        if !same(self.boot_id, [0; 2]) {
            self.past[self.next as usize & (REMEMBERED - 1)] = self.boot_id;
            self.next = self.next.wrapping_add(1);
        }
        self.boot_id = boot_id;
        // What is zeroed at once becomes a call of `memset`, and old kernels forbid calls to a program
        // that holds a lock. The compiler does not see that this number is zero.
        let zero = black_box(0);
        self.probe = [zero; MAX_PATHS];
        self.reply = [zero; MAX_PATHS];
    }
}

/// Word by word, for a comparison of arrays may become a call, which is forbidden to a kernel
/// program that holds a lock.
#[inline(always)]
const fn same(a: [u64; 2], b: [u64; 2]) -> bool {
    (a[0] ^ b[0]) | (a[1] ^ b[1]) == 0
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{collections::HashMap, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    fn hear(replay: &mut Replay, boot: u64, sequence: u64) -> bool {
        replay.accept([boot, 7], ProbeKind::Probe, 0, sequence, true) == Novelty::New
    }

    #[test]
    fn sequences_grow_within_a_boot() {
        let mut replay = Replay::default();
        let heard = [5, 5, 4, 6, 9, 7, 9, 10].map(|sequence| hear(&mut replay, 1, sequence));
        assert_eq!(heard, [true, false, false, true, true, false, false, true]);
    }

    #[test]
    fn a_reply_may_overtake_a_probe() {
        let mut replay = Replay::default();
        let mut accept = |kind, sequence| replay.accept([1, 1], kind, 0, sequence, true);
        assert_eq!(accept(ProbeKind::Reply, 9), Novelty::New);
        assert_eq!(accept(ProbeKind::Probe, 8), Novelty::New);
        assert_eq!(accept(ProbeKind::Probe, 8), Novelty::Old);
        assert_eq!(accept(ProbeKind::Reply, 8), Novelty::Old);
    }

    #[test]
    fn a_fast_path_overtakes_a_slow_one() {
        let mut replay = Replay::default();
        let mut accept =
            |path, sequence| replay.accept([1, 1], ProbeKind::Probe, path, sequence, true);
        assert_eq!(accept(1, 11), Novelty::New);
        assert_eq!(accept(0, 10), Novelty::New);
        assert_eq!(accept(1, 11), Novelty::Old);
        assert_eq!(accept(0, 10), Novelty::Old);
    }

    #[test]
    fn a_boot_begins_once() {
        let mut replay = Replay::default();
        assert!(hear(&mut replay, 1, 100));
        assert!(hear(&mut replay, 2, 1), "a new boot counts from anywhere");
        assert!(!hear(&mut replay, 1, 101), "an old one is over");
        assert!(hear(&mut replay, 2, 2));
        assert!(!hear(&mut replay, 2, 2));
        assert_eq!(replay.accept([0; 2], ProbeKind::Probe, 0, 9, true), Novelty::Old);
    }

    #[test]
    fn a_recording_begins_no_boot() {
        let mut replay = Replay::default();
        for known in [false, true] {
            let before = replay;
            assert_eq!(replay.accept([3, 3], ProbeKind::Probe, 0, 500, false), Novelty::Unproven);
            assert_eq!(replay, before, "it changes nothing, and the true boot stays");
            assert_eq!(hear(&mut replay, 1, 10), !known);
        }
        assert_eq!(
            replay.accept([1, 7], ProbeKind::Probe, 0, 11, false),
            Novelty::New,
            "known by now"
        );
    }

    #[test]
    fn two_boots_are_remembered() {
        let mut replay = Replay::default();
        for boot in 0..=2 {
            assert!(hear(&mut replay, boot, 1));
        }
        for boot in 0..2 {
            assert!(!hear(&mut replay, boot, 2), "boot {boot}");
        }
    }

    proptest! {
        #[test]
        fn no_packet_is_accepted_twice(
            packets in proptest::collection::vec((0..3u8, 0..20u64), 0..200),
        ) {
            let mut replay = Replay::default();
            let mut accepted: HashMap<u8, Vec<u64>> = HashMap::new();
            for (boot, sequence) in packets {
                if hear(&mut replay, u64::from(boot), sequence) {
                    let old = accepted.entry(boot).or_default();
                    prop_assert!(old.last().is_none_or(|&last| sequence > last));
                    old.push(sequence);
                }
            }
        }
    }
}
