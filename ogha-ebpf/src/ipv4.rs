//! IPv4: the gate, and the counters of TCP.

use aya_ebpf::programs::XdpContext;
use ogha_common::maps::{Passage, PortCounters};

use crate::{
    Reason, gate,
    maps::{PORT_COUNTERS, PORTS, is_own_mac},
    packet::{Ethernet, Frame, Ipv4, PROTOCOL_TCP},
    reset,
    tcp::{self, Segment},
};

/// A packet of IPv4 has come in.
#[inline(always)]
pub fn ingress(ctx: &XdpContext, frame: Frame) -> Reason {
    let Some((ip, header_length)) = header(frame) else { return Reason::Malformed };
    let segment = segment(frame, ip, header_length, frame.len());
    let vip = gate::vip(ip.destination);
    let port = segment.as_ref().and_then(|segment| instance_of(segment.destination));
    let counted = segment.as_ref().is_some_and(Segment::is_counted);
    if vip.is_none() && (port.is_none() || !counted) {
        return Reason::NotOurs;
    }
    let now = gate::now();
    let addressed = is_addressed(frame);
    if addressed
        && let (Some(instance), Some(segment)) = (port, &segment)
    {
        count(instance, |counters| tcp::count_in(counters, segment, now));
    }
    let Some(vip) = vip else { return Reason::NotOurs };
    match gate::passage(vip.instance, now) {
        Passage::Open => Reason::GateOpen,
        _ if !addressed => Reason::Flooded,
        Passage::Closed | Passage::Claimed
            if let Some(segment) = &segment
                && !segment.is_reset() =>
        {
            count(vip.instance, |counters| {
                counters.rejected += 1;
                if port == Some(vip.instance) {
                    counters.rst_out += 1;
                    counters.rst_out_last_ns = now;
                }
            });
            reset::answer(ctx, frame, ip, segment)
        }
        Passage::Closed | Passage::Claimed | Passage::Lapsed => dropped(vip.instance),
    }
}

/// A packet of IPv4 is about to leave. `length` is that of the whole frame, of which only the
/// beginning may lie in `frame`.
#[inline(always)]
pub fn egress(frame: Frame, length: usize) -> Reason {
    let Some((ip, header_length)) = header(frame) else { return Reason::Malformed };
    let segment = segment(frame, ip, header_length, length);
    let vip = gate::vip(ip.source);
    let port = segment.as_ref().and_then(|segment| instance_of(segment.source));
    let counted = segment.as_ref().is_some_and(Segment::is_counted);
    if vip.is_none() && (port.is_none() || !counted) {
        return Reason::NotOurs;
    }
    let now = gate::now();
    if let Some(vip) = vip {
        match gate::passage(vip.instance, now) {
            Passage::Open => {}
            Passage::Closed | Passage::Claimed
                if segment.as_ref().is_some_and(Segment::only_ends) => {}
            Passage::Closed | Passage::Claimed | Passage::Lapsed => return dropped(vip.instance),
        }
    }
    if let (Some(instance), Some(segment)) = (port, &segment) {
        count(instance, |counters| tcp::count_out(counters, segment, now));
    }
    Reason::GateOpen
}

#[inline(always)]
fn header(frame: Frame) -> Option<(&'static Ipv4, usize)> {
    // SAFETY: `at` has checked the bounds; the packet stays while the program runs, and nobody
    // writes it before the last use of this reference.
    let ip = unsafe { &*frame.at::<Ipv4>(Ethernet::LEN)? };
    Some((ip, ip.header_length()?))
}

/// The TCP segment, if the packet has one and begins it.
#[inline(always)]
fn segment(frame: Frame, ip: &Ipv4, header_length: usize, frame_length: usize) -> Option<Segment> {
    if ip.protocol != PROTOCOL_TCP || ip.is_later_fragment() {
        return None;
    }
    let total = match u16::from_be(ip.total) {
        0 => (frame_length - Ethernet::LEN) as u32,
        total => u32::from(total),
    };
    // SAFETY: `at` has checked the bounds.
    let tcp = unsafe { &*frame.at(Ethernet::LEN + header_length)? };
    Some(Segment::new(tcp, total.saturating_sub(header_length as u32)))
}

/// Is the frame for one of our interfaces, rather than flooded by the switch or for a group?
#[inline(always)]
fn is_addressed(frame: Frame) -> bool {
    // SAFETY: `at` has checked the bounds.
    frame.at::<Ethernet>(0).is_some_and(|e| is_own_mac(unsafe { (*e).destination }.number()))
}

#[inline(always)]
fn instance_of(port: u16) -> Option<u32> {
    // SAFETY: a copy of an aligned word is taken at once.
    unsafe { PORTS.get(u32::from(port)).copied() }
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
