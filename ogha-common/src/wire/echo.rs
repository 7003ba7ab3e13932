//! ICMP echo (RFC 792, RFC 4443 section 4): a question that any host answers with the same data.

use super::checksum::{fold, sum};

/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
/// What tells an answer to this question from any other.
pub const NONCE: usize = 16;
/// The length of a message.
pub const LEN: usize = HEADER + NONCE;

/// Which ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// ICMP of IPv4.
    V4,
    /// ICMPv6. Its checksum covers addresses, and is left to who sends the message.
    V6,
}

impl Version {
    const fn request(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    const fn reply(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whose question it is.
    pub identifier: u16,
    /// Which of them.
    pub sequence: u16,
    /// Nobody who has not heard the question knows it.
    pub nonce: [u8; NONCE],
}

impl Echo {
    /// Writes the question.
    #[must_use]
    pub fn encode(&self, version: Version) -> [u8; LEN] {
        let mut message = [0; LEN];
        message[0] = version.request();
        message[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        message[HEADER..].copy_from_slice(&self.nonce);
        if version == Version::V4 {
            let checksum = !fold(sum(0, &message));
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        message
    }

    /// Whether the message answers this question, whatever its sequence number: none was asked
    /// before the first.
    #[must_use]
    pub fn is_answered_by(&self, version: Version, message: &[u8]) -> bool {
        let Some(message) = message.first_chunk::<LEN>() else { return false };
        let intact = version == Version::V6 || fold(sum(0, message)) == u16::MAX;
        intact
            && message[..2] == [version.reply(), 0]
            && message[4..6] == self.identifier.to_be_bytes()
            && message[HEADER..] == self.nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Echo = Echo { identifier: 0x1234, sequence: 2, nonce: [0xab; NONCE] };

    fn answer(version: Version, echo: &Echo) -> [u8; LEN] {
        let mut message = echo.encode(version);
        message[0] = version.reply();
        if version == Version::V4 {
            message[2..4].fill(0);
            let checksum = !fold(sum(0, &message));
            message[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        message
    }

    #[test]
    fn the_answer_carries_the_same_data() {
        for version in [Version::V4, Version::V6] {
            assert!(ECHO.is_answered_by(version, &answer(version, &ECHO)));
            assert!(ECHO.is_answered_by(version, &answer(version, &Echo { sequence: 0, ..ECHO })));
        }
    }

    #[test]
    fn what_was_asked_by_others_or_before_is_no_answer() {
        for version in [Version::V4, Version::V6] {
            let mut nonce = ECHO.nonce;
            nonce[NONCE - 1] ^= 1;
            for other in [Echo { identifier: 0x1235, ..ECHO }, Echo { nonce, ..ECHO }] {
                assert!(!ECHO.is_answered_by(version, &answer(version, &other)));
            }
            assert!(!ECHO.is_answered_by(version, &ECHO.encode(version)), "the question itself");
            let whole = answer(version, &ECHO);
            assert!(!ECHO.is_answered_by(version, &whole[..LEN - 1]));
            let mut unreachable = whole;
            unreachable[1] = 1;
            assert!(!ECHO.is_answered_by(version, &unreachable));
        }
        let mut torn = answer(Version::V4, &ECHO);
        torn[6] ^= 1;
        assert!(!ECHO.is_answered_by(Version::V4, &torn), "the checksum");
    }

    #[test]
    fn a_question_looks_like_that_of_ping() {
        let message = Echo { identifier: 1, sequence: 1, nonce: [0; NONCE] }.encode(Version::V4);
        assert_eq!(message[..8], [8, 0, 0xf7, 0xfd, 0, 1, 0, 1]);
    }
}
