//! ARP for the virtual addresses (RFC 826, RFC 5227).

use ogha_common::maps::{ArpCounters, EVENT_CONFLICT, Passage, Vip};

use crate::{
    Reason, events, gate,
    maps::ARP_COUNTERS,
    packet::{Arp, Ethernet, Frame, Mac},
};

/// A frame of ARP has come in.
#[inline(always)]
pub fn ingress(frame: Frame) -> Reason {
    let Some(arp) = header(frame) else { return Reason::Malformed };
    // SAFETY: `header` has checked the bounds; nobody else has the packet.
    let arp = unsafe { &mut *arp };
    if let Some(vip) = gate::vip(arp.sender)
        && arp.sender_mac != Mac::from_octets(vip.mac)
    {
        return claimed_elsewhere(arp, vip);
    }
    let Some(vip) = gate::vip(arp.target) else { return Reason::NotOurs };
    if arp.operation != Arp::REQUEST || arp.sender == arp.target {
        return Reason::NotOurs;
    }
    match gate::passage(vip.instance, gate::now()) {
        Passage::Open | Passage::Claimed => answer(frame, arp, vip),
        // A probe asks before it takes the address: whoever holds it will answer, if anyone.
        Passage::Closed | Passage::Lapsed if arp.sender.is_unspecified() => Reason::NotOurs,
        Passage::Closed | Passage::Lapsed => {
            count(vip.instance, |counters| counters.dropped += 1);
            Reason::ArpNotHeld
        }
    }
}

/// A frame of ARP is about to leave: it may claim a virtual address only while we hold it.
#[inline(always)]
pub fn egress(frame: Frame) -> Reason {
    let Some(arp) = header(frame) else { return Reason::Malformed };
    // SAFETY: `header` has checked the bounds; nobody else has the packet.
    let arp = unsafe { &*arp };
    let Some(vip) = gate::vip(arp.sender) else { return Reason::NotOurs };
    match gate::passage(vip.instance, gate::now()) {
        Passage::Open | Passage::Claimed => Reason::GateOpen,
        Passage::Closed | Passage::Lapsed => {
            count(vip.instance, |counters| counters.suppressed += 1);
            Reason::ArpSuppressed
        }
    }
}

#[inline(always)]
fn header(frame: Frame) -> Option<*mut Arp> {
    let arp = frame.at::<Arp>(Ethernet::LEN)?;
    // SAFETY: `at` has checked the bounds.
    (unsafe { (*arp).format } == Arp::FORMAT).then_some(arp)
}

/// Another host says that it has the address. While we hold it that is a conflict, and the first
/// sign of a split brain; else it is news for the host's own stack.
#[inline(always)]
fn claimed_elsewhere(arp: &Arp, vip: &Vip) -> Reason {
    let now = gate::now();
    match gate::passage(vip.instance, now) {
        Passage::Open | Passage::Claimed => {
            count(vip.instance, |counters| counters.conflicts += 1);
            events::emit(EVENT_CONFLICT, vip.instance, now, arp.sender_mac.number());
            Reason::ArpConflict
        }
        Passage::Closed | Passage::Lapsed => Reason::NotOurs,
    }
}

/// Turns the request into its reply, in place.
#[inline(always)]
fn answer(frame: Frame, arp: &mut Arp, vip: &Vip) -> Reason {
    let Some(ethernet) = frame.at::<Ethernet>(0) else { return Reason::Malformed };
    let mac = Mac::from_octets(vip.mac);
    // SAFETY: `at` has checked the bounds, and the header of the frame lies before that of ARP.
    let ethernet = unsafe { &mut *ethernet };
    ethernet.destination = arp.sender_mac;
    ethernet.source = mac;
    arp.operation = Arp::REPLY;
    arp.target_mac = arp.sender_mac;
    arp.sender_mac = mac;
    core::mem::swap(&mut arp.sender, &mut arp.target);
    count(vip.instance, |counters| counters.answered += 1);
    Reason::ArpAnswered
}

#[inline(always)]
fn count(instance: u32, add: impl FnOnce(&mut ArpCounters)) {
    if let Some(counters) = ARP_COUNTERS.get_ptr_mut(instance) {
        // SAFETY: the element belongs to this CPU, and no other program of ours interrupts us.
        add(unsafe { &mut *counters });
    }
}
