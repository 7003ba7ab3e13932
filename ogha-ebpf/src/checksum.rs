//! The checksum of the internet's protocols: a one's complement sum of 16-bit words, whatever their
//! byte order (RFC 1071 section 2).

/// The plain sum of words as they stand in a packet. That of a few thousand fits.
#[inline(always)]
pub fn add<const N: usize>(words: [u16; N]) -> u32 {
    let mut sum = 0;
    for word in words {
        sum += u32::from(word);
    }
    sum
}

/// The same of words of 64 bits, each four in one, folded until it fits.
#[inline(always)]
pub fn add_wide(words: &[u64]) -> u32 {
    let mut sum = 0;
    for word in words {
        sum += (word & 0xffff_ffff) + (word >> 32);
    }
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    u32::from(fold(sum as u32)) + (sum >> 32) as u32
}

/// A plain sum as one word.
#[inline(always)]
pub fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}
