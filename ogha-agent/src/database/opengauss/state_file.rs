//! `gaussdb.state`: the role and the state that the main process last wrote down.
//!
//! ```text
//! offset  0 i32 mode      4 i32 peers   8 i32 state   12 bool, 3 bytes of padding
//!        16 u64 position 24 u64 term   32 i32 build mode, 4 bytes of padding
//!        40 u64 done     48 u64 total  56 i32 percent 60 i32 seconds 64 i32 reason to rebuild
//! ```
//!
//! Written in the machine's byte order whenever the role or the state changes, and by `gs_ctl
//! build`. A killed server leaves it as it was: a dead primary's file says Primary, Normal. The
//! first 68 bytes are the same in all versions.

use super::super::Role;

/// What a driver can use of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateFile {
    /// The role when it was written.
    pub role: Role,
    /// The state then, in small letters.
    pub state: &'static str,
    /// The term then; a primary writes 0.
    pub term: u64,
}

const SHORTEST: usize = 68;
const MODES: [Role; 9] = [
    Role::Unknown,
    Role::Primary, // Normal: a server without a pair
    Role::Primary,
    Role::Standby,
    Role::Standby, // cascade standby
    Role::Unknown, // pending
    Role::Unknown, // recovery
    Role::Standby, // of a standby cluster
    Role::Standby, // main standby
];
const STATES: [&str; 10] = [
    "unknown",
    "normal",
    "need repair",
    "starting",
    "wait promoting",
    "demoting",
    "promoting",
    "building",
    "catchup",
    "coredump",
];

impl StateFile {
    /// Reads the file's bytes; `None` if it is cut short. Numbers without a name are `Unknown`.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < SHORTEST {
            return None;
        }
        let number = |at: usize| Some(i32::from_ne_bytes(*bytes[at..].first_chunk()?));
        let index = |at: usize| number(at).map(|n| usize::try_from(n).unwrap_or(0));
        Some(Self {
            role: MODES.get(index(0)?).copied().unwrap_or_default(),
            state: STATES.get(index(8)?).copied().unwrap_or(STATES[0]),
            term: u64::from_ne_bytes(*bytes[24..].first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: i32, state: i32, term: u64) -> Vec<u8> {
        let mut bytes = vec![0; 72];
        bytes[0..4].copy_from_slice(&mode.to_ne_bytes());
        bytes[8..12].copy_from_slice(&state.to_ne_bytes());
        bytes[24..32].copy_from_slice(&term.to_ne_bytes());
        bytes
    }

    #[test]
    fn roles_and_states() {
        let read = |mode, state| {
            let file = StateFile::parse(&file(mode, state, 5)).unwrap();
            (file.role, file.state, file.term)
        };
        assert_eq!(read(2, 1), (Role::Primary, "normal", 5));
        assert_eq!(read(3, 2), (Role::Standby, "need repair", 5));
        assert_eq!(read(3, 6), (Role::Standby, "promoting", 5));
        assert_eq!(read(4, 8), (Role::Standby, "catchup", 5));
        assert_eq!(read(5, 3), (Role::Unknown, "starting", 5));
    }

    #[test]
    fn unknown_numbers_are_unknown() {
        for number in [-1, 99, i32::MAX, i32::MIN] {
            let file = StateFile::parse(&file(number, number, 0)).unwrap();
            assert_eq!((file.role, file.state), (Role::Unknown, "unknown"));
        }
    }

    #[test]
    fn a_file_cut_short_is_refused() {
        assert_eq!(StateFile::parse(&file(2, 1, 0)[..67]), None);
        assert_eq!(StateFile::parse(&[]), None);
        assert!(StateFile::parse(&file(2, 1, 0)[..68]).is_some());
    }
}
