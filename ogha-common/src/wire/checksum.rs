//! The internet checksum (RFC 1071): the one's complement of the one's complement sum.

/// Adds 16-bit words to a sum. Packets are short enough that 32 bits do not overflow.
pub(super) fn sum(start: u32, bytes: &[u8]) -> u32 {
    let (words, odd) = bytes.as_chunks::<2>();
    let last = odd.first().map_or(0, |&octet| u32::from(octet) << 8);
    words.iter().fold(start + last, |sum, &word| sum + u32::from(u16::from_be_bytes(word)))
}

/// Folds the carries back in. Twice is enough for any 32-bit sum. Over a message with its right
/// checksum, all bits are one.
pub(super) fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}
