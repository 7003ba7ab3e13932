//! What both versions of IP have in common: the gate, and the counters of TCP.

use ogha_common::maps::{Passage, PortCounters, Vip};

use crate::{
    Reason, advert,
    context::Context,
    gate,
    maps::{PORT_COUNTERS, PORTS, is_own_mac},
    packet::{Ethernet, Frame, PROTOCOL_NONE, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_VRRP, Tcp},
    probe, reset,
    tcp::{self, Segment},
};

/// The port is no instance's. Not an `Option`, for the reason that [`Segment`] gives.
pub const NOBODY: u32 = u32::MAX;

/// An address.
pub trait Address: Copy {
    /// `VipKey::words` of it.
    fn key(self) -> [u64; 2];
    /// The last of its octets.
    fn last_octet(self) -> u8;
    /// The sum of its words, for a checksum.
    fn sum(self) -> u32;
}

/// A header of IP, without options.
pub trait Ip: Sized {
    /// The version's addresses.
    type Address: Address;
    /// Bytes.
    const LEN: usize = size_of::<Self>();
    /// A UDP datagram must have a checksum (RFC 8200 section 8.1).
    const UDP_CHECKSUM: bool;
    /// Version 4.
    const IS_V4: bool = !Self::UDP_CHECKSUM;

    /// Who sent the packet.
    fn source(&self) -> Self::Address;
    /// Whom it is for.
    fn destination(&self) -> Self::Address;
    /// What follows this header.
    fn protocol(&self) -> u8;
    /// How many more routers may pass the packet on.
    fn hops(&self) -> u8;
    /// What the packet carries, behind all options. `frame_length` is that of the whole frame, of
    /// which only the beginning may lie in `frame`.
    fn payload(&self, frame: Frame, frame_length: usize) -> Payload;
    /// Is the packet whole, without options, and does it carry so many bytes?
    fn is_plain(&self, length: u16) -> bool;
    /// Back to whom it came from.
    fn turn(&mut self);
    /// The header of a reply that carries so many bytes.
    fn reply(&self, protocol: u8, length: u16) -> Self;
}

/// What a packet carries.
#[derive(Clone, Copy)]
pub struct Payload {
    /// Of its first header; [`PROTOCOL_NONE`] where that is not in this packet, or not found.
    pub protocol: u8,
    /// Where it begins in the frame.
    pub at: usize,
    /// Bytes, as IP tells it.
    pub length: u32,
}

impl Payload {
    /// Nothing that could be told.
    pub const NONE: Self = Self { protocol: PROTOCOL_NONE, at: 0, length: 0 };
}

/// The sum of a pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[inline(always)]
pub fn pseudo_sum<A: Address>(source: A, destination: A, protocol: u8, length: u16) -> u32 {
    source.sum()
        + destination.sum()
        + u32::from(u16::from(protocol).to_be())
        + u32::from(length.to_be())
}

/// A packet has come in.
#[inline(always)]
pub fn ingress<I: Ip>(ctx: &impl Context, frame: Frame) -> Reason {
    let Some(ip) = frame.at::<I>(Ethernet::LEN) else { return Reason::Malformed };
    // SAFETY: `at` has checked the bounds; nobody writes the packet before its last use here.
    let ip = unsafe { &*ip };
    if ip.protocol() == PROTOCOL_UDP {
        let instance = probe::instance_of(frame, ip);
        if instance != NOBODY && is_addressed(frame) {
            return probe::ingress::<I>(ctx, frame, instance);
        }
    }
    if ip.protocol() == PROTOCOL_VRRP {
        advert::ingress(ctx, frame, ip);
    }
    match gate::vip(ip.destination()) {
        Some(vip) => to_vip(ctx, frame, ip, vip),
        None => to_host(frame, ip),
    }
}

/// It is for a virtual address.
#[inline(always)]
fn to_vip<I: Ip>(ctx: &impl Context, frame: Frame, ip: &I, vip: &Vip) -> Reason {
    // First: the processor may take long over the clock, and does in the meantime what needs none.
    let instance = vip.instance;
    let (passage, now) = gate::passage_now(instance);
    let payload = ip.payload(frame, frame.len());
    let segment = segment(frame, payload);
    let port_of = instance_of(&segment, segment.destination, Some(vip));
    let addressed = is_addressed(frame);
    if addressed && port_of != NOBODY {
        count(port_of, |counters| tcp::count_in(counters, &segment, now));
    }
    match passage {
        Passage::Open => Reason::GateOpen,
        // In another LAN the same address may rightly be another host's.
        _ if !addressed && frame.is_elsewhere() => Reason::NotOurs,
        _ if !addressed => Reason::Flooded,
        Passage::Closed | Passage::Claimed if segment.is_answerable() => {
            count(instance, |counters| {
                counters.rejected += 1;
                if port_of == instance {
                    counters.rst_out += 1;
                    counters.rst_out_last_ns = now;
                }
            });
            reset::answer(ctx, frame, ip, payload.at, &segment)
        }
        Passage::Closed | Passage::Claimed | Passage::Lapsed => dropped(instance),
    }
}

/// It is for another address: counted if it is for an instance's port, and none of our business.
#[inline(always)]
fn to_host(frame: Frame, ip: &impl Ip) -> Reason {
    let segment = segment(frame, ip.payload(frame, frame.len()));
    let port_of = instance_of(&segment, segment.destination, None);
    if port_of != NOBODY && is_addressed(frame) {
        let now = gate::now();
        count(port_of, |counters| tcp::count_in(counters, &segment, now));
    }
    Reason::NotOurs
}

/// A packet is about to leave. `length` is that of the whole frame, of which only the
/// beginning may lie in `frame`.
#[inline(always)]
pub fn egress<I: Ip>(frame: Frame, length: usize) -> Reason {
    let Some(ip) = frame.at::<I>(Ethernet::LEN) else { return Reason::Malformed };
    // SAFETY: `at` has checked the bounds; nobody writes the packet.
    let ip = unsafe { &*ip };
    match gate::vip(ip.source()) {
        Some(vip) => from_vip(frame, ip, vip, length),
        None => from_host(frame, ip, length),
    }
}

/// It is from a virtual address.
#[inline(always)]
fn from_vip(frame: Frame, ip: &impl Ip, vip: &Vip, length: usize) -> Reason {
    // First, as in `to_vip`.
    let (passage, now) = gate::passage_now(vip.instance);
    let segment = segment(frame, ip.payload(frame, length));
    match passage {
        Passage::Open => {}
        Passage::Closed | Passage::Claimed if segment.only_ends() => {}
        Passage::Closed | Passage::Claimed | Passage::Lapsed => return dropped(vip.instance),
    }
    let port_of = instance_of(&segment, segment.source, Some(vip));
    if port_of != NOBODY {
        count(port_of, |counters| tcp::count_out(counters, &segment, now));
    }
    Reason::GateOpen
}

/// It is from another address.
#[inline(always)]
fn from_host(frame: Frame, ip: &impl Ip, length: usize) -> Reason {
    let segment = segment(frame, ip.payload(frame, length));
    let port_of = instance_of(&segment, segment.source, None);
    if port_of != NOBODY {
        let now = gate::now();
        count(port_of, |counters| tcp::count_out(counters, &segment, now));
    }
    Reason::NotOurs
}

/// The TCP segment, if the packet has one and begins it.
#[inline(always)]
fn segment(frame: Frame, payload: Payload) -> Segment {
    if payload.protocol != PROTOCOL_TCP {
        return Segment::NONE;
    }
    match frame.at::<Tcp>(payload.at) {
        // SAFETY: `at` has checked the bounds.
        Some(tcp) => Segment::new(unsafe { &*tcp }, payload.length),
        None => Segment::NONE,
    }
}

/// Whose port it is, if the segment moves a counter at all. The virtual address names its
/// instance's port, which spares the look-up.
#[inline(always)]
fn instance_of(segment: &Segment, port: u16, vip: Option<&Vip>) -> u32 {
    if !segment.is_counted() {
        return NOBODY;
    }
    if let Some(vip) = vip
        && vip.port == port
        && port != 0
    {
        return vip.instance;
    }
    // SAFETY: a copy of an aligned word is taken at once.
    match unsafe { PORTS.get(u32::from(port)) } {
        Some(instance) => *instance,
        None => NOBODY,
    }
}

/// Is the frame for one of our interfaces, rather than flooded by the switch or for a group?
#[inline(always)]
fn is_addressed(frame: Frame) -> bool {
    // SAFETY: `ethernet` has checked the bounds.
    frame.ethernet().is_some_and(|e| is_own_mac(unsafe { (*e).destination }.number()))
}

#[inline(always)]
fn dropped(instance: u32) -> Reason {
    count(instance, |counters| counters.dropped += 1);
    Reason::GateShut
}

#[inline(always)]
fn count(instance: u32, add: impl FnOnce(&mut PortCounters)) {
    if let Some(counters) = PORT_COUNTERS.get_ptr_mut(instance) {
        // SAFETY: the element belongs to this CPU, and no other program of ours interrupts us.
        add(unsafe { &mut *counters });
    }
}
