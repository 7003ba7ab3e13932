//! What a node says of its configuration, and in what two nodes contradict each other.
//!
//! A [`Profile`] goes over the wire as [`PAGES`] numbers, one in each probe, in turn. What must be named
//! when it differs is a number of its own, or a few bits of one; what only has to be the same is a
//! fingerprint. A page that says nothing is 0, and what was not heard contradicts nothing.

mod contradiction;

use core::time::Duration;

pub use self::contradiction::{Contradiction, Contradictions, Danger};
use crate::units::NodeId;

/// How many pages there are: a power of two. Those that have no meaning yet are 0.
pub const PAGES: usize = 16;
/// As many pages hold a node's name.
pub const NAME_PAGES: usize = 4;
/// The longest name that they hold, in octets; of a longer one, its beginning.
pub const NAME_OCTETS: usize = 8 * NAME_PAGES;

/// The numbers of the pages. They never change: a new one takes the next that is free.
pub mod page {
    /// The version of the software: major, minor and patch, 16 bits each; below them the number of
    /// pages that it knows.
    pub const SOFTWARE: u8 = 0;
    /// Database's kind, arbiter's kind, synchronous, `detect_multiplier`: 8 bits each; the database's
    /// port: 16.
    pub const SETTINGS: u8 = 1;
    /// `lease` in milliseconds: 16 bits; `agent_timeout` in milliseconds and `probe_interval` in
    /// microseconds: 24 each.
    pub const TIMES: u8 = 2;
    /// Version of VRRP, transport: 8 bits each; `advert_interval` in centiseconds: 16.
    pub const VRRP: u8 = 3;
    /// Fingerprint of the virtual addresses with their prefixes.
    pub const ADDRESSES: u8 = 4;
    /// Fingerprint of the instance's name.
    pub const INSTANCE: u8 = 5;
    /// Fingerprint of the names of all nodes.
    pub const NODES: u8 = 6;
    /// The database's system identifier.
    pub const SYSTEM: u8 = 7;
    /// The first of the [`NAME_PAGES`](super::NAME_PAGES) of the node's name.
    pub const NAME: u8 = 8;
    /// Fingerprint of what the arbiter is asked about: the prefix of its keys.
    pub const ARBITER: u8 = 12;
}

/// A version of the software.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Software {
    /// The first number.
    pub major: u16,
    /// The second.
    pub minor: u16,
    /// The third.
    pub patch: u16,
}

impl Software {
    /// As the page [`page::SOFTWARE`] has it.
    #[must_use]
    pub const fn of_page(page: u64) -> Self {
        Self { major: (page >> 48) as u16, minor: (page >> 32) as u16, patch: (page >> 16) as u16 }
    }
}

impl core::fmt::Display for Software {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a node says of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Its version.
    pub software: Software,
    /// [`database_kind`] reads it.
    pub database: u8,
    /// [`arbiter_kind`] reads it.
    pub arbiter: u8,
    /// ogha manages for whom commits wait.
    pub synchronous: bool,
    /// So many misses make a host lost.
    pub detect_multiplier: u8,
    /// The database's TCP port; 0: none.
    pub database_port: u16,
    /// `lease`
    pub lease: Duration,
    /// `agent_timeout`
    pub agent_timeout: Duration,
    /// `probe_interval`
    pub probe_interval: Duration,
    /// The version of VRRP: 2 or 3.
    pub vrrp: u8,
    /// Adverts are multicast.
    pub multicast: bool,
    /// `advert_interval`, in centiseconds.
    pub advert_centis: u16,
    /// Of the virtual addresses, as [`fingerprint_of`] makes it.
    pub addresses: u64,
    /// Of the instance's name.
    pub instance: u64,
    /// Of the names of all nodes.
    pub nodes: u64,
    /// Of what the arbiter is asked about; 0: of nothing.
    pub arbiter_scope: u64,
    /// The database's system identifier, where it is known.
    pub system: Option<u64>,
    /// The node's name.
    pub name: Name,
}

/// A node's name, or its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name([u64; NAME_PAGES]);

impl Name {
    /// As many octets as there is room for.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut pages = [0; NAME_PAGES];
        for (page, octets) in pages.iter_mut().zip(name.as_bytes().chunks(8)) {
            *page = octets
                .iter()
                .enumerate()
                .fold(0, |word, (at, &octet)| word | u64::from(octet) << (56 - 8 * at));
        }
        Self(pages)
    }

    /// The octets; those behind the name are 0.
    #[must_use]
    pub fn octets(&self) -> [u8; NAME_OCTETS] {
        core::array::from_fn(|at| self.0[at / 8].to_be_bytes()[at % 8])
    }

    /// Whether nothing of it was heard.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.0[0] == 0
    }

    /// Whether a name, or its beginning, is this.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        *self == Self::of(name)
    }

    /// As the pages have it.
    #[must_use]
    pub const fn from_pages(pages: [u64; NAME_PAGES]) -> Self {
        Self(pages)
    }
}

impl core::fmt::Display for Name {
    /// Only what a configuration allows in a name is shown.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for octet in self.octets().into_iter().take_while(|&octet| octet != 0) {
            let plain = octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
            write!(f, "{}", if plain { octet as char } else { '?' })?;
        }
        Ok(())
    }
}

impl Profile {
    /// As it goes over the wire.
    #[must_use]
    pub fn pages(&self) -> [u64; PAGES] {
        let Software { major, minor, patch } = self.software;
        let bits = |duration: u128, bits: u32| (duration as u64).min((1 << bits) - 1);
        let mut pages = [0; PAGES];
        let mut set = |number: u8, value: u64| pages[number as usize] = value;
        set(
            page::SOFTWARE,
            u64::from(major) << 48 | u64::from(minor) << 32 | u64::from(patch) << 16 | PAGES as u64,
        );
        set(
            page::SETTINGS,
            u64::from(self.database) << 56
                | u64::from(self.arbiter) << 48
                | u64::from(self.synchronous) << 40
                | u64::from(self.detect_multiplier) << 32
                | u64::from(self.database_port) << 16,
        );
        set(
            page::TIMES,
            bits(self.lease.as_millis(), 16) << 48
                | bits(self.agent_timeout.as_millis(), 24) << 24
                | bits(self.probe_interval.as_micros(), 24),
        );
        set(
            page::VRRP,
            u64::from(self.vrrp) << 56
                | u64::from(self.multicast) << 48
                | u64::from(self.advert_centis) << 32,
        );
        set(page::ADDRESSES, self.addresses);
        set(page::INSTANCE, self.instance);
        set(page::NODES, self.nodes);
        set(page::SYSTEM, self.system.unwrap_or(0));
        set(page::ARBITER, self.arbiter_scope);
        for (number, part) in (page::NAME..).zip(self.name.0) {
            set(number, part);
        }
        pages
    }
}

/// The name of a database's kind, as a profile has it.
#[must_use]
pub const fn database_kind(code: u8) -> &'static str {
    match code {
        1 => "opengauss",
        2 => "postgresql",
        3 => "script",
        4 => "none",
        _ => "a kind that this version does not know",
    }
}

/// The name of an arbiter's kind, as a profile has it.
#[must_use]
pub const fn arbiter_kind(code: u8) -> &'static str {
    match code {
        1 => "none",
        2 => "gateway",
        3 => "etcd",
        _ => "a kind that this version does not know",
    }
}

/// The fingerprint of a set of texts, whatever their order. Never 0.
#[must_use]
pub fn fingerprint_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    fingerprint_of_nodes(texts.into_iter().map(NodeId::of))
}

/// The fingerprint of a set of nodes, whatever their order. Never 0.
#[must_use]
pub fn fingerprint_of_nodes(nodes: impl IntoIterator<Item = NodeId>) -> u64 {
    let sum = nodes.into_iter().fold(0_u64, |sum, node| sum.wrapping_add(mixed(node.get())));
    sum.max(1)
}

/// Hashes of texts that differ in one letter differ in few bits: their sums could be the same.
const fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests;
