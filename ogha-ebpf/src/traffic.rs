//! Traffic over both versions of IP: the gate, and the counters of TCP.

use ogha_common::maps::{Passage, PortCounters, Vip};

use crate::{
    Reason, advert,
    context::Context,
    gate,
    ip::{Ip, NOBODY, Payload},
    maps::{PORT_COUNTERS, PORTS, is_own_mac},
    packet::{Ethernet, Frame, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_VRRP, Tcp},
    probe, reset,
    tcp::{self, Segment},
};

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
