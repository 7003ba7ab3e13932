//! Protection against replay: an authentic packet counts once.

/// How many earlier boots of a peer are remembered.
const REMEMBERED: usize = 8;

/// What has been heard of one sender.
///
/// Within a boot, sequence numbers grow. A new boot id is a new beginning, and closes the old one
/// for good. Two limits, both stated plainly: an agent that has just started knows no boot, so
/// that the first packet it hears may be an old one; and a boot more than 8 boots ago is forgotten.
/// What may grant something must therefore also echo a timestamp of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    current: Option<([u8; 16], u64)>,
    past: [Option<[u8; 16]>; REMEMBERED],
    /// Where the next boot that ends is remembered.
    next: usize,
}

impl Replay {
    /// Whether the packet is new; if so, it is never again.
    #[must_use]
    pub fn accept(&mut self, boot_id: [u8; 16], sequence: u64) -> bool {
        match &mut self.current {
            Some((current, last)) if *current == boot_id => {
                let new = sequence > *last;
                *last = sequence.max(*last);
                new
            }
            _ if self.past.contains(&Some(boot_id)) => false,
            current => {
                if let Some((ended, _)) = current.replace((boot_id, sequence)) {
                    self.past[self.next] = Some(ended);
                    self.next = (self.next + 1) % REMEMBERED;
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{collections::HashMap, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_grow_within_a_boot() {
        let mut replay = Replay::default();
        let boot = [1; 16];
        let heard = [5, 5, 4, 6, 9, 7, 9, 10].map(|sequence| replay.accept(boot, sequence));
        assert_eq!(heard, [true, false, false, true, true, false, false, true]);
    }

    #[test]
    fn a_boot_begins_once() {
        let mut replay = Replay::default();
        assert!(replay.accept([1; 16], 100));
        assert!(replay.accept([2; 16], 1), "a new boot counts from anywhere");
        assert!(!replay.accept([1; 16], 101), "an old one is over");
        assert!(replay.accept([2; 16], 2));
        assert!(!replay.accept([2; 16], 2));
    }

    #[test]
    fn eight_boots_are_remembered() {
        let mut replay = Replay::default();
        for boot in 0..=8 {
            assert!(replay.accept([boot; 16], 1));
        }
        for boot in 0..8 {
            assert!(!replay.accept([boot; 16], 2), "boot {boot}");
        }
    }

    proptest! {
        #[test]
        fn no_packet_is_accepted_twice(
            packets in proptest::collection::vec((0..8u8, 0..20u64), 0..200),
        ) {
            let mut replay = Replay::default();
            let mut accepted: HashMap<u8, Vec<u64>> = HashMap::new();
            for (boot, sequence) in packets {
                if replay.accept([boot; 16], sequence) {
                    let old = accepted.entry(boot).or_default();
                    prop_assert!(old.last().is_none_or(|&last| sequence > last));
                    old.push(sequence);
                }
            }
        }
    }
}
