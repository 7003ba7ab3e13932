//! SipHash-2-4 for the kernel's program, which can use no crate: whole words of 8 octets only, and
//! each loop of a fixed length, as the verifier wants it. The tests hold it against the reference
//! vectors and against the `siphasher` crate.

/// A key, as two numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The first eight octets, little-endian.
    pub k0: u64,
    /// The last eight octets, little-endian.
    pub k1: u64,
}

impl Key {
    /// The key of these octets.
    #[must_use]
    pub const fn new(octets: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(octets);
        Self { k0: key as u64, k1: (key >> 64) as u64 }
    }
}

impl core::fmt::Debug for Key {
    /// A key shows itself to nobody.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    const fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }

    #[inline(always)]
    const fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }
}

/// The tag of a message of `N` words as they lie in memory, at most 31 of them.
#[must_use]
#[inline(always)]
pub fn tag<const N: usize>(key: Key, words: &[u64; N]) -> u64 {
    const { assert!(N < 32, "the length of the message goes into one octet") };
    let mut state = State {
        v0: key.k0 ^ 0x736f_6d65_7073_6575,
        v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
        v2: key.k0 ^ 0x6c79_6765_6e65_7261,
        v3: key.k1 ^ 0x7465_6462_7974_6573,
    };
    for &word in words {
        state.absorb(u64::from_le(word));
    }
    // The last block holds the length in its top octet; whole words leave nothing else for it.
    state.absorb((N as u64 * 8) << 56);
    state.v2 ^= 0xff;
    state.round();
    state.round();
    state.round();
    state.round();
    state.v0 ^ state.v1 ^ state.v2 ^ state.v3
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher as _;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;

    use super::*;

    /// The octets 00 01 02 .. as words.
    fn counting<const N: usize>() -> [u64; N] {
        core::array::from_fn(|i| {
            u64::from_ne_bytes(core::array::from_fn(|octet| (8 * i + octet) as u8))
        })
    }

    /// The published vectors, those of whole words: the key 00 01 .. 0f over 00 01 02 ..
    #[test]
    fn the_reference_vectors() {
        let key = Key::new(core::array::from_fn(|i| i as u8));
        assert_eq!(tag(key, &counting::<0>()), 0x726f_db47_dd0e_0e31);
        assert_eq!(tag(key, &counting::<1>()), 0x93f5_f579_9a93_2462);
        assert_eq!(tag(key, &counting::<2>()), 0x3f2a_cc7f_57c2_9bdb);
    }

    proptest! {
        #[test]
        fn the_same_as_the_crate(key: [u8; 16], message: [u64; 13]) {
            let mut hasher = SipHasher24::new_with_key(&key);
            for word in message {
                hasher.write(&word.to_ne_bytes());
            }
            prop_assert_eq!(tag(Key::new(key), &message), hasher.finish());
        }
    }
}
