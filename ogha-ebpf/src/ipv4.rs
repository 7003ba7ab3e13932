//! IPv4: the gate, and the counters of TCP.

use ogha_common::maps::{Passage, PortCounters, Vip};

use crate::{
    Reason,
    context::Context,
    gate,
    maps::{PORT_COUNTERS, PORTS, is_own_mac},
    packet::{Ethernet, Frame, Ipv4, PROTOCOL_TCP, PROTOCOL_UDP, Tcp},
    probe, reset,
    tcp::{self, Segment},
};

/// The port is no instance's. Not an `Option`, for the reason that [`Segment`] gives.
pub const NOBODY: u32 = u32::MAX;

/// A packet of IPv4 has come in.
#[inline(always)]
pub fn ingress(ctx: &impl Context, frame: Frame) -> Reason {
    let Some(ip) = frame.at::<Ipv4>(Ethernet::LEN) else { return Reason::Malformed };
    // SAFETY: `at` has checked the bounds; nobody writes the packet before its last use here.
    let ip = unsafe { &*ip };
    if ip.protocol == PROTOCOL_UDP {
        let instance = probe::instance_of(frame, ip);
        if instance != NOBODY && is_addressed(frame) {
            return probe::ingress(ctx, instance);
        }
    }
    match gate::vip(ip.destination) {
        Some(vip) => to_vip(ctx, frame, ip, vip),
        None => to_host(frame, ip),
    }
}

/// It is for a virtual address.
#[inline(always)]
fn to_vip(ctx: &impl Context, frame: Frame, ip: &Ipv4, vip: &Vip) -> Reason {
    // First: the processor may take long over the clock, and does in the meantime what needs none.
    let instance = vip.instance;
    let (passage, now) = gate::passage_now(instance);
    let segment = segment(frame, ip, frame.len());
    let port_of = instance_of(&segment, segment.destination, Some(vip));
    let addressed = is_addressed(frame);
    if addressed && port_of != NOBODY {
        count(port_of, |counters| tcp::count_in(counters, &segment, now));
    }
    match passage {
        Passage::Open => Reason::GateOpen,
        _ if !addressed => Reason::Flooded,
        Passage::Closed | Passage::Claimed if segment.is_answerable() => {
            count(instance, |counters| {
                counters.rejected += 1;
                if port_of == instance {
                    counters.rst_out += 1;
                    counters.rst_out_last_ns = now;
                }
            });
            reset::answer(ctx, frame, ip, &segment)
        }
        Passage::Closed | Passage::Claimed | Passage::Lapsed => dropped(instance),
    }
}

/// It is for another address: counted if it is for an instance's port, and none of our business.
#[inline(always)]
fn to_host(frame: Frame, ip: &Ipv4) -> Reason {
    let segment = segment(frame, ip, frame.len());
    let port_of = instance_of(&segment, segment.destination, None);
    if port_of != NOBODY && is_addressed(frame) {
        let now = gate::now();
        count(port_of, |counters| tcp::count_in(counters, &segment, now));
    }
    Reason::NotOurs
}

/// A packet of IPv4 is about to leave. `length` is that of the whole frame, of which only the
/// beginning may lie in `frame`.
#[inline(always)]
pub fn egress(frame: Frame, length: usize) -> Reason {
    let Some(ip) = frame.at::<Ipv4>(Ethernet::LEN) else { return Reason::Malformed };
    // SAFETY: `at` has checked the bounds; nobody writes the packet.
    let ip = unsafe { &*ip };
    match gate::vip(ip.source) {
        Some(vip) => from_vip(frame, ip, vip, length),
        None => from_host(frame, ip, length),
    }
}

/// It is from a virtual address.
#[inline(always)]
fn from_vip(frame: Frame, ip: &Ipv4, vip: &Vip, length: usize) -> Reason {
    // First, as in `to_vip`.
    let (passage, now) = gate::passage_now(vip.instance);
    let segment = segment(frame, ip, length);
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
fn from_host(frame: Frame, ip: &Ipv4, length: usize) -> Reason {
    let segment = segment(frame, ip, length);
    let port_of = instance_of(&segment, segment.source, None);
    if port_of != NOBODY {
        let now = gate::now();
        count(port_of, |counters| tcp::count_out(counters, &segment, now));
    }
    Reason::NotOurs
}

/// The TCP segment, if the packet has one and begins it.
#[inline(always)]
fn segment(frame: Frame, ip: &Ipv4, frame_length: usize) -> Segment {
    let header = ip.header_length();
    if ip.protocol != PROTOCOL_TCP || ip.is_later_fragment() || header < Ipv4::LEN {
        return Segment::NONE;
    }
    let Some(tcp) = frame.at::<Tcp>(Ethernet::LEN + header) else { return Segment::NONE };
    let total = match u16::from_be(ip.total) {
        0 => (frame_length - Ethernet::LEN) as u32,
        total => u32::from(total),
    };
    // SAFETY: `at` has checked the bounds.
    Segment::new(unsafe { &*tcp }, total.saturating_sub(header as u32))
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
    // SAFETY: `at` has checked the bounds.
    frame.at::<Ethernet>(0).is_some_and(|e| is_own_mac(unsafe { (*e).destination }.number()))
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
