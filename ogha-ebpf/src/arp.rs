//! ARP for the virtual addresses (RFC 826, RFC 5227).

use ogha_common::maps::Vip;

use crate::{
    Reason, gate,
    neighbour::{self, Claim, count},
    packet::{Arp, Ethernet, Frame, Mac},
};

/// A frame of ARP has come in.
#[inline(always)]
pub fn ingress(frame: Frame) -> Reason {
    let Some(arp) = header(frame) else { return Reason::Malformed };
    if frame.is_elsewhere() {
        // In another LAN the same address may rightly be another host's.
        return Reason::NotOurs;
    }
    // SAFETY: `header` has checked the bounds; nobody else has the packet.
    let arp = unsafe { &mut *arp };
    if let Some(vip) = gate::vip(arp.sender)
        && arp.sender_mac != Mac::from_octets(vip.mac)
    {
        return claimed_elsewhere(frame, arp, vip);
    }
    let Some(vip) = gate::vip(arp.target) else { return Reason::NotOurs };
    if arp.operation != Arp::REQUEST || arp.sender == arp.target {
        return Reason::NotOurs;
    }
    if neighbour::is_held(vip) {
        answer(frame, arp, vip)
    } else if arp.sender.is_unspecified() {
        // A probe asks before it takes the address: whoever holds it will answer, if anyone.
        Reason::NotOurs
    } else {
        count(vip.instance, |counters| counters.dropped += 1);
        Reason::AddressNotHeld
    }
}

/// A frame of ARP is about to leave: it may claim a virtual address only while we hold it, in a VLAN
/// too, for there a host's stack answers for all its addresses.
#[inline(always)]
pub fn egress(frame: Frame) -> Reason {
    let Some(arp) = header(frame) else { return Reason::Malformed };
    // SAFETY: `header` has checked the bounds; nobody else has the packet.
    let arp = unsafe { &*arp };
    let Some(vip) = gate::vip(arp.sender) else { return Reason::NotOurs };
    neighbour::claimed_here(vip)
}

#[inline(always)]
fn header(frame: Frame) -> Option<*mut Arp> {
    let arp = frame.at::<Arp>(Ethernet::LEN)?;
    // SAFETY: `at` has checked the bounds.
    (unsafe { (*arp).format } == Arp::FORMAT).then_some(arp)
}

/// Another host says that it has the address: in an announcement, or as who asks or answers.
#[inline(always)]
fn claimed_elsewhere(frame: Frame, arp: &mut Arp, vip: &Vip) -> Reason {
    match neighbour::claimed_elsewhere(vip, arp.sender_mac) {
        Claim::News => Reason::NotOurs,
        Claim::Conflict => Reason::AddressContested,
        Claim::Challenge => announce(frame, arp, vip),
    }
}

/// Turns the request into its reply, in place.
#[inline(always)]
fn answer(frame: Frame, arp: &mut Arp, vip: &Vip) -> Reason {
    let mac = Mac::from_octets(vip.mac);
    if !address(frame, arp.sender_mac, mac) {
        return Reason::Malformed;
    }
    arp.operation = Arp::REPLY;
    arp.target_mac = arp.sender_mac;
    arp.sender_mac = mac;
    (arp.sender, arp.target) = (arp.target, arp.sender);
    count(vip.instance, |counters| counters.answered += 1);
    Reason::AddressAnswered
}

/// Turns the claim into our own announcement, in place: a broadcast request for the sender's own
/// address (RFC 5227 section 2.3), which every host takes up that knows the address.
#[inline(always)]
fn announce(frame: Frame, arp: &mut Arp, vip: &Vip) -> Reason {
    let mac = Mac::from_octets(vip.mac);
    if !address(frame, Mac::BROADCAST, mac) {
        return Reason::Malformed;
    }
    arp.operation = Arp::REQUEST;
    arp.sender_mac = mac;
    arp.target_mac = Mac::ZERO;
    arp.target = arp.sender;
    count(vip.instance, |counters| counters.defended += 1);
    Reason::AddressDefended
}

/// Rewrites the header of the frame, which lies before that of ARP. Returns whether it was done.
#[inline(always)]
fn address(frame: Frame, to: Mac, from: Mac) -> bool {
    let Some(ethernet) = frame.ethernet() else { return false };
    // SAFETY: `at` has checked the bounds; nobody else has the packet.
    let ethernet = unsafe { &mut *ethernet };
    ethernet.destination = to;
    ethernet.source = from;
    true
}
