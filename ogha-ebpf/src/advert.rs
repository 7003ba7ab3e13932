//! VRRP's adverts: validated as RFC 9568 section 7.1 says, and stamped with the kernel's time, so that
//! an agent that was not running does not take its own delay for the peer's silence.
//!
//! Every advert is passed on: the agent reads what it says.

use aya_ebpf::helpers::generated::bpf_csum_diff;
use ogha_common::maps::{AdvertCounters, AdvertFault, AdvertKey, Advertiser, Peer, PeerKey};

use crate::{
    checksum,
    context::Context,
    gate,
    ip::{Ip, Payload, pseudo_sum},
    maps::{ADVERT_COUNTERS, ADVERTISERS, PEERS, SCRATCH, SCRATCH_BYTES},
    packet::{Address as _, Frame, PROTOCOL_VRRP},
};

/// `Header::version_kind`, low half: an advertisement.
const ADVERTISEMENT: u8 = 1;
/// Bytes of version 2's authentication data (RFC 2338 section 5.3.10).
const AUTH_DATA: u32 = 8;

/// The beginning of an advert (RFC 9568 section 5.2).
#[repr(C)]
struct Header {
    version_kind: u8,
    vrid: u8,
    priority: u8,
    addresses: u8,
    /// Version 3: 12 bits of centiseconds. Version 2: the kind of authentication, and seconds.
    interval: [u8; 2],
    checksum: u16,
}

/// A packet of VRRP has come in.
#[inline(always)]
pub fn ingress<I: Ip>(ctx: &impl Context, frame: Frame, ip: &I) {
    let payload = ip.payload(frame, frame.len());
    let Some(header) = frame.at::<Header>(payload.at) else { return };
    if payload.protocol != PROTOCOL_VRRP {
        return;
    }
    // SAFETY: `at` has checked the bounds; nobody writes the packet.
    let header = unsafe { &*header };
    let vrid = u32::from(header.vrid);
    let Some(sender) = advertiser(ip.source().key(), vrid) else {
        if let Some(ours) = advertiser([0; 2], vrid) {
            count(ours.instance, |counters| counters.refuse(AdvertFault::Stranger));
        }
        return;
    };
    match examine(ctx, frame, ip, payload, header, sender.version) {
        Ok(()) => {
            // One of priority 0 says goodbye (RFC 9568 section 6.4.3).
            if header.priority != 0 {
                stamp(sender);
            }
            count(sender.instance, |counters| counters.accepted += 1);
        }
        Err(fault) => count(sender.instance, |counters| counters.refuse(fault)),
    }
}

#[inline(always)]
fn advertiser(source: [u64; 2], vrid: u32) -> Option<&'static Advertiser> {
    // SAFETY: an address is 16 plain bytes.
    let source = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(source) };
    // SAFETY: an entry stays allocated while the program runs.
    unsafe { ADVERTISERS.get(AdvertKey { source, vrid }) }
}

/// The rules, in the order of the RFC.
#[inline(always)]
fn examine<I: Ip>(
    ctx: &impl Context,
    frame: Frame,
    ip: &I,
    payload: Payload,
    header: &Header,
    version: u32,
) -> Result<(), AdvertFault> {
    if ip.hops() != 255 {
        return Err(AdvertFault::Ttl);
    }
    if u32::from(header.version_kind >> 4) != version {
        return Err(AdvertFault::Version);
    }
    if header.version_kind & 0xf != ADVERTISEMENT {
        return Err(AdvertFault::Kind);
    }
    let addresses = u32::from(header.addresses) * size_of::<I::Address>() as u32;
    let auth = if version == 2 { AUTH_DATA } else { 0 };
    let length = size_of::<Header>() as u32 + addresses + auth;
    if payload.length != length || length >= SCRATCH_BYTES as u32 {
        return Err(AdvertFault::Length);
    }
    let Some(sum) = sum(ctx, payload.at + frame.tags(), length) else {
        return Err(AdvertFault::Length);
    };
    let whole = sum + pseudo_sum(ip.source(), ip.destination(), PROTOCOL_VRRP, length as u16);
    // Over IPv4 some routers leave the pseudo header out, as version 2 does.
    let plain = I::IS_V4 && checksum::fold(sum) == u16::MAX;
    if !(plain || version == 3 && checksum::fold(whole) == u16::MAX) {
        return Err(AdvertFault::Checksum);
    }
    let never = if version == 3 { header.interval[0] & 0xf } else { 0 } | header.interval[1] == 0;
    if header.addresses == 0 || never { Err(AdvertFault::Field) } else { Ok(()) }
}

/// The plain sum of the message's words; `None` if not all of them are there. A loop over them is
/// more than the kernel's verifier follows.
#[inline(always)]
fn sum(ctx: &impl Context, at: usize, length: u32) -> Option<u32> {
    let scratch: *mut [u8; SCRATCH_BYTES] = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: a local is read; volatile, for the verifier wants to see the bounds that follow.
    let length = unsafe { (&raw const length).read_volatile() } & (SCRATCH_BYTES as u32 - 4);
    if length == 0 {
        return None;
    }
    // SAFETY: the buffer is longer than `length`, and belongs to this CPU.
    unsafe {
        if !ctx.load(at as u32, scratch.cast(), length) {
            return None;
        }
        let sum = bpf_csum_diff(core::ptr::null_mut(), 0, scratch.cast(), length, 0) as u32;
        Some(u32::from(checksum::fold(sum)))
    }
}

/// The peer lives.
#[inline(always)]
fn stamp(sender: &Advertiser) {
    let key = PeerKey { instance: sender.instance, reserved: 0, node: sender.node };
    let Some(peer) = PEERS.get_ptr_mut(key) else { return };
    // SAFETY: the entry stays allocated while the program runs. One aligned word is written at once,
    // and a later time may follow it from another CPU in any order.
    unsafe { (&raw mut (*peer.cast::<Peer>()).last_advert_ns).write_volatile(gate::now()) };
}

#[inline(always)]
fn count(instance: u32, add: impl FnOnce(&mut AdvertCounters)) {
    if let Some(counters) = ADVERT_COUNTERS.get_ptr_mut(instance) {
        // SAFETY: the element belongs to this CPU, and no other program of ours interrupts us.
        add(unsafe { &mut *counters });
    }
}
