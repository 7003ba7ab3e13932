//! The maps of VRRP's adverts: whose they are, and what came of them.

use core::mem::size_of;

/// The sender of an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct AdvertKey {
    /// Its own address, network order, IPv4 in its mapped form; all zero stands for everybody who is
    /// no peer.
    pub source: [u8; 16],
    /// The virtual router.
    pub vrid: u32,
}

/// Whom an advert speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Advertiser {
    /// The peer; 0: nobody that is known.
    pub node: u64,
    /// The instance.
    pub instance: u32,
    /// The version of VRRP that the instance speaks: 2 or 3.
    pub version: u32,
}

/// Why an advert is no sign of life: the rules of RFC 9568 section 7.1, one a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AdvertFault {
    /// A router has passed it on: the TTL, or hop limit, is not 255.
    Ttl = 1,
    /// Of another version than the instance's.
    Version,
    /// No advertisement.
    Kind,
    /// Its length is not what its fields say, or it is longer than the kernel reads.
    Length,
    /// The checksum is wrong.
    Checksum,
    /// It has no address, or says that it is never sent.
    Field,
    /// Its sender is no peer.
    Stranger,
}

/// Adverts of the instance's virtual router. All of them were passed on to the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct AdvertCounters {
    /// Good ones, of a peer: their time is in `PEERS`.
    pub accepted: u64,
    /// The TTL is not 255.
    pub ttl: u64,
    /// Of another version.
    pub version: u64,
    /// No advertisement.
    pub kind: u64,
    /// The length is wrong.
    pub length: u64,
    /// The checksum is wrong.
    pub checksum: u64,
    /// A field makes no sense.
    pub field: u64,
    /// The sender is no peer.
    pub stranger: u64,
}

impl AdvertCounters {
    /// Counts an advert that is no sign of life.
    #[inline(always)]
    pub const fn refuse(&mut self, fault: AdvertFault) {
        let counter = match fault {
            AdvertFault::Ttl => &mut self.ttl,
            AdvertFault::Version => &mut self.version,
            AdvertFault::Kind => &mut self.kind,
            AdvertFault::Length => &mut self.length,
            AdvertFault::Checksum => &mut self.checksum,
            AdvertFault::Field => &mut self.field,
            AdvertFault::Stranger => &mut self.stranger,
        };
        *counter += 1;
    }

    /// Two CPUs' counters in one.
    #[must_use]
    pub const fn merge(self, other: &Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            ttl: self.ttl + other.ttl,
            version: self.version + other.version,
            kind: self.kind + other.kind,
            length: self.length + other.length,
            checksum: self.checksum + other.checksum,
            field: self.field + other.field,
            stranger: self.stranger + other.stranger,
        }
    }
}

const _: () = {
    assert!(size_of::<AdvertKey>() == 20);
    assert!(size_of::<Advertiser>() == 16);
    assert!(size_of::<AdvertCounters>() == 64);
};
