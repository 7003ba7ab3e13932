//! The maps of the probes: what this node offers to its peers, and what was heard of them.

use core::mem::size_of;

use crate::{
    profile::{NAME_PAGES, PAGES},
    units::{Lsn, Members, NodeId, Priority, Term},
    wire::{
        probe::{Error, MAX_PATHS, ProbeKind, Status},
        replay::Replay,
    },
};

/// The kernel's lock in a map's value. The kernel finds it by this name: it keeps whoever copies
/// the value with `BPF_F_LOCK` from seeing it half written. Zero in every copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct bpf_spin_lock {
    val: u32,
}

/// Where an instance takes probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Endpoint {
    /// This node's own address, network order, IPv4 in its mapped form.
    pub address: [u8; 16],
    /// UDP port, host order.
    pub port: u32,
}

/// What a node says of itself: [`Status`] as a map holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Said {
    /// The term of its record.
    pub term: u64,
    /// The primary that its record names; 0: none.
    pub primary: u64,
    /// The in-sync set that the record names.
    pub in_sync: u64,
    /// Where its database's log stands.
    pub lsn: u64,
    /// [`Phase`](crate::wire::probe::Phase); 0: nothing was said yet.
    pub phase: u8,
    /// [`Role`](crate::wire::probe::Role).
    pub role: u8,
    /// 1: its agent is away on purpose.
    pub restarting: u8,
    /// Its priority.
    pub priority: u8,
    /// 1: an operator has paused failovers there.
    pub paused: u8,
    /// 1: its database hangs, or was stopped because it did.
    pub hung: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl Said {
    /// The status, if anything was said.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        Some(Status {
            term: Term::new(self.term),
            primary: NodeId::from_wire(self.primary),
            in_sync: Members::from_wire(self.in_sync),
            phase: self.phase.try_into().ok()?,
            role: self.role.try_into().ok()?,
            restarting: self.restarting != 0,
            paused: self.paused != 0,
            hung: self.hung != 0,
            priority: Priority::new(self.priority),
            lsn: Lsn::new(self.lsn),
        })
    }

    /// Takes over what the other says. Word by word, for a copy of the whole may become a call, which
    /// is forbidden to a kernel program that holds a lock.
    #[inline(always)]
    pub const fn set(&mut self, other: &Self) {
        self.term = other.term;
        self.primary = other.primary;
        self.in_sync = other.in_sync;
        self.lsn = other.lsn;
        self.phase = other.phase;
        self.role = other.role;
        self.restarting = other.restarting;
        self.priority = other.priority;
        self.paused = other.paused;
        self.hung = other.hung;
    }

    /// Do the two differ in what a peer must know at once? (Not the log's position.)
    #[must_use]
    #[inline(always)]
    pub const fn differs(&self, other: &Self) -> bool {
        self.term != other.term
            || self.primary != other.primary
            || self.in_sync != other.in_sync
            || self.phase != other.phase
            || self.role != other.role
            || self.restarting != other.restarting
            || self.paused != other.paused
            || self.hung != other.hung
    }
}

impl From<Status> for Said {
    fn from(status: Status) -> Self {
        Self {
            term: status.term.get(),
            primary: status.primary.map_or(0, NodeId::get),
            in_sync: status.in_sync.get(),
            lsn: status.lsn.get(),
            phase: status.phase as u8,
            role: status.role as u8,
            restarting: u8::from(status.restarting),
            priority: status.priority.get(),
            paused: u8::from(status.paused),
            hung: u8::from(status.hung),
            reserved: [0; 2],
        }
    }
}

/// What this node offers to its peers: the kernel answers probes from it, whether the agent lives
/// or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Offer {
    /// Guards `said`.
    pub lock: bpf_spin_lock,
    /// The virtual router; 0: this entry is unused.
    pub vrid: u32,
    /// The database's TCP port; 0: none.
    pub database_port: u32,
    /// 1: the kernel saw the agent's process exit. The agent's next heartbeat clears it.
    pub exited: u32,
    /// The cluster's key, first half, little-endian.
    pub key0: u64,
    /// The cluster's key, second half.
    pub key1: u64,
    /// This node.
    pub node: u64,
    /// The kernel's boot id, as it goes over the wire.
    pub boot_id: [u64; 2],
    /// `CLOCK_BOOTTIME`, nanoseconds, when the agent last showed that it lives.
    pub heartbeat_ns: u64,
    /// What the node says of itself.
    pub said: Said,
    /// To whom this node grants a lease, in the term that it says: the primary of its record.
    /// 0: to nobody, as before a promotion.
    pub grant_to: u64,
    /// How long a lease it grants, milliseconds.
    pub grant_ms: u32,
    /// Zero.
    pub reserved: u32,
}

/// A peer of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct PeerKey {
    /// The instance.
    pub instance: u32,
    /// Zero.
    pub reserved: u32,
    /// The peer.
    pub node: u64,
}

/// What was heard of a peer. Times are `CLOCK_BOOTTIME` nanoseconds, 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Peer {
    /// Guards the whole.
    pub lock: bpf_spin_lock,
    /// 1: the kernel has told what stands at `listening` and below.
    pub told: u32,
    /// What was heard once is not heard again.
    pub replay: Replay,
    /// When the last probe arrived: a sign of life of the peer's agent.
    pub last_probe_ns: u64,
    /// When the last reply arrived: a sign of life of the peer's host.
    pub last_reply_ns: u64,
    /// When this node sent the probe that the last reply on each path answers.
    pub answered_ns: [u64; MAX_PATHS],
    /// The peer's clock in its newest packet, which our probes echo.
    pub their_time_ns: u64,
    /// The last round trip.
    pub rtt_ns: u64,
    /// What the peer said in its newest packet.
    pub said: Said,
    /// Milliseconds that had passed since its agent's heartbeat when its last reply was made.
    pub heartbeat_ms: u32,
    /// 1: the database's port had a listener then.
    pub listening: u32,
    /// Its gate then: [`Passage`](super::Passage).
    pub gate: u32,
    /// Connections that waited for its database to accept them.
    pub queue: u32,
    /// How many may wait.
    pub queue_limit: u32,
    /// 1: its kernel saw its agent exit.
    pub exited: u32,
    /// The term of the lease that it granted to this node.
    pub granted_term: u64,
    /// The end of that lease: the peer does not promote before.
    pub granted_until_ns: u64,
    /// The end of this node's own lease grant to the peer, given by answering its probes.
    pub promised_until_ns: u64,
    /// When its last valid VRRP advert arrived. Written without the lock.
    pub last_advert_ns: u64,
    /// When a probe of it last had a page.
    pub paged_ns: u64,
    /// The pages of its [`Profile`](crate::profile::Profile), as far as they were heard.
    pub pages: [u64; PAGES],
}

impl Peer {
    /// The age of the last sign of life of the peer's agent at `now_ns`, in nanoseconds; `None`
    /// if there never was one.
    #[must_use]
    pub fn agent_age_ns(&self, now_ns: u64) -> Option<u64> {
        let probe = (self.last_probe_ns != 0).then(|| now_ns.saturating_sub(self.last_probe_ns));
        let reply = (self.last_reply_ns != 0 && self.heartbeat_ms != u32::MAX).then(|| {
            now_ns.saturating_sub(self.last_reply_ns)
                + u64::from(self.heartbeat_ms) * crate::maps::NS_PER_MS
        });
        probe.into_iter().chain(reply).min()
    }
}

/// From where datagrams are refused: an address that the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Origin {
    /// The address, network order, IPv4 in its mapped form.
    pub address: [u8; 16],
    /// The instance.
    pub instance: u32,
}

/// What was refused of the datagrams from an address, and when for the last time (`CLOCK_BOOTTIME`
/// nanoseconds, 0 for never). Each word is written by itself, without a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Refused {
    /// Its tag was wrong.
    pub tag_ns: u64,
    /// It was of an earlier format.
    pub format_ns: u64,
    /// It was authentic, and for another instance or another node, or of a node that is no peer.
    pub stray_ns: u64,
    /// Its term was too far ahead.
    pub leap_ns: u64,
    /// Of the last stray one: the virtual router.
    pub vrid: u64,
    /// Its sender.
    pub node: u64,
    /// Its receiver.
    pub to: u64,
    /// Its number.
    pub sequence: u64,
    /// Its sender's boot, as it goes over the wire.
    pub boot_id: [u64; 2],
    /// What its sender calls itself, as far as it was heard.
    pub name: [u64; NAME_PAGES],
}

/// Why an authentic probe was refused all the same, or was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It breaks a rule of the format, or its tag is wrong.
    Malformed(Error),
    /// It is for another node or instance.
    Receiver,
    /// Its sender is no configured peer.
    Stranger,
    /// It was heard before, or is older than one that was.
    Replay,
    /// A reply to what we did not ask, or not lately.
    Echo,
    /// Its term is so far ahead that it cannot be true ([`Term::leaps_from`]).
    Leap,
}

/// Datagrams at the instance's endpoint. Those that were refused were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[cfg_attr(feature = "user", derive(serde::Serialize, serde::Deserialize))]
pub struct ProbeCounters {
    /// Probes that were accepted.
    pub probes: u64,
    /// Probes that were answered.
    pub answered: u64,
    /// Replies that were accepted.
    pub replies: u64,
    /// Probes of a boot not heard before that do not echo a recent time of ours: answered, so that
    /// the next one does, but not believed.
    pub unproven: u64,
    /// Refused: the length is wrong, or the packet is in pieces.
    pub length: u64,
    /// Refused: no probe of ogha's.
    pub magic: u64,
    /// Refused: another version.
    pub version: u64,
    /// Refused: the tag is wrong.
    pub tag: u64,
    /// Refused: authentic, but a field makes no sense.
    pub field: u64,
    /// Refused: for another node or instance.
    pub receiver: u64,
    /// Refused: the sender is no peer.
    pub stranger: u64,
    /// Refused: heard before.
    pub replay: u64,
    /// Refused: a reply to no probe of ours.
    pub echo: u64,
    /// Refused: its term is so far ahead that it cannot be true.
    #[cfg_attr(feature = "user", serde(default))]
    pub leap: u64,
}

impl ProbeCounters {
    /// Counts an accepted datagram.
    #[inline(always)]
    pub const fn accept(&mut self, kind: ProbeKind) {
        match kind {
            ProbeKind::Probe => self.probes += 1,
            ProbeKind::Reply => self.replies += 1,
        }
    }

    /// Counts a datagram that was refused.
    #[inline(always)]
    pub const fn refuse(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Malformed(Error::Length) => &mut self.length,
            Refusal::Malformed(Error::Magic) => &mut self.magic,
            Refusal::Malformed(Error::Version) => &mut self.version,
            Refusal::Malformed(Error::Tag) => &mut self.tag,
            Refusal::Malformed(
                Error::Vrid
                | Error::Boot
                | Error::Kind
                | Error::Node
                | Error::Phase
                | Error::Role
                | Error::Path,
            ) => &mut self.field,
            Refusal::Receiver => &mut self.receiver,
            Refusal::Stranger => &mut self.stranger,
            Refusal::Replay => &mut self.replay,
            Refusal::Echo => &mut self.echo,
            Refusal::Leap => &mut self.leap,
        };
        *counter += 1;
    }

    /// All that were refused, whatever the reason.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.length
            + self.magic
            + self.version
            + self.tag
            + self.field
            + self.receiver
            + self.stranger
            + self.replay
            + self.echo
            + self.leap
    }

    /// Two CPUs' counters in one.
    #[must_use]
    pub const fn merge(self, other: &Self) -> Self {
        Self {
            probes: self.probes + other.probes,
            answered: self.answered + other.answered,
            replies: self.replies + other.replies,
            unproven: self.unproven + other.unproven,
            length: self.length + other.length,
            magic: self.magic + other.magic,
            version: self.version + other.version,
            tag: self.tag + other.tag,
            field: self.field + other.field,
            receiver: self.receiver + other.receiver,
            stranger: self.stranger + other.stranger,
            replay: self.replay + other.replay,
            echo: self.echo + other.echo,
            leap: self.leap + other.leap,
        }
    }
}

const _: () = {
    assert!(size_of::<Endpoint>() == 20);
    assert!(size_of::<Said>() == 40);
    assert!(size_of::<Offer>() == 120);
    assert!(size_of::<PeerKey>() == 16);
    assert!(size_of::<Peer>() == 424);
    assert!(size_of::<Origin>() == 20);
    assert!(size_of::<Refused>() == 112);
    assert!(size_of::<ProbeCounters>() == 112);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::NS_PER_MS;

    #[test]
    fn the_agent_is_as_old_as_its_youngest_sign_of_life() {
        let mut peer = Peer::default();
        assert_eq!(peer.agent_age_ns(10), None);
        peer.last_reply_ns = 100 * NS_PER_MS;
        peer.heartbeat_ms = 30;
        assert_eq!(peer.agent_age_ns(101 * NS_PER_MS), Some(31 * NS_PER_MS));
        peer.last_probe_ns = 90 * NS_PER_MS;
        assert_eq!(peer.agent_age_ns(101 * NS_PER_MS), Some(11 * NS_PER_MS));
        peer.heartbeat_ms = u32::MAX;
        peer.last_probe_ns = 0;
        assert_eq!(peer.agent_age_ns(101 * NS_PER_MS), None, "there never was a heartbeat");
    }

    #[test]
    fn each_refusal_has_a_counter() {
        let mut counters = ProbeCounters::default();
        let mut seen = 0;
        for refusal in [
            Refusal::Malformed(Error::Length),
            Refusal::Malformed(Error::Magic),
            Refusal::Malformed(Error::Version),
            Refusal::Malformed(Error::Tag),
            Refusal::Malformed(Error::Boot),
            Refusal::Receiver,
            Refusal::Stranger,
            Refusal::Replay,
            Refusal::Echo,
            Refusal::Leap,
        ] {
            let before = counters;
            counters.refuse(refusal);
            seen += 1;
            assert_ne!(counters, before);
            assert_eq!(counters.refused(), seen);
        }
        assert_eq!(counters.merge(&counters).refused(), 2 * seen);
    }
}
