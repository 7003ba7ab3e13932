//! Neighbour discovery for the virtual addresses (RFC 4861, RFC 4862).

use ogha_common::maps::Vip;

use crate::{
    Reason,
    checksum::{add, fold},
    context::Context,
    gate,
    ip::pseudo_sum,
    neighbour::{self, Claim, count},
    packet::{Address as _, Address6, Ethernet, Frame, Ipv6, Mac, PROTOCOL_ICMPV6},
    traffic,
};

/// `Message::kind`: who has the target (RFC 4861 section 4.3)?
const SOLICITATION: u8 = 135;
/// `Message::kind`: the target is at that MAC (RFC 4861 section 4.4).
const ADVERTISEMENT: u8 = 136;
/// `Message::flags`, network order: the advertisement answers a solicitation.
const SOLICITED: u16 = 0x4000_u16.to_be();
/// `Message::flags`, network order: the advertisement is to be believed rather than what was known.
const OVERRIDE: u16 = 0x2000_u16.to_be();
/// `Link::kind`: the sender's MAC.
const SOURCE_LINK: u8 = 1;
/// `Link::kind`: the target's MAC.
const TARGET_LINK: u8 = 2;
/// The hop limit of what has crossed no router.
const SAME_LINK: u8 = 255;
/// How many options are looked at. Nobody is known to send more than two.
const MAX_OPTIONS: usize = 4;

/// A message without its options.
#[repr(C)]
struct Message {
    kind: u8,
    code: u8,
    checksum: u16,
    flags: u16,
    reserved: u16,
    target: Address6,
}

impl Message {
    const LEN: usize = size_of::<Self>();
}

/// An option, as one that names a MAC has it (RFC 4861 section 4.6.1).
#[repr(C)]
struct Link {
    kind: u8,
    /// Words of 64 bits.
    length: u8,
    mac: Mac,
}

/// What we say, behind the Ethernet header.
#[repr(C)]
struct Advertisement {
    ip: Ipv6,
    message: Message,
    link: Link,
}

/// What a message says.
struct NeighbourSays {
    kind: u8,
    source: Address6,
    target: Address6,
    /// Of who sends it.
    mac: Mac,
}

/// Is it a solicitation or an advertisement? One behind extension headers is neither to us: the
/// gate judges it like any packet.
#[inline(always)]
pub fn is_neighbour(frame: Frame) -> bool {
    let (Some(ip), Some(message)) = (header(frame), message(frame)) else { return false };
    // SAFETY: `at` has checked the bounds of both.
    let (next, kind) = unsafe { ((*ip).next, (*message).kind) };
    next == PROTOCOL_ICMPV6 && (kind == SOLICITATION || kind == ADVERTISEMENT)
}

/// A message has come in. The host's stack judges all that is malformed, and gets all that is not
/// about a virtual address, whatever its gate says: it is not the clients' traffic.
#[inline(always)]
pub fn ingress(ctx: &impl Context, frame: Frame) -> Reason {
    if frame.is_elsewhere() {
        // In another LAN the same address may rightly be another host's.
        return Reason::NotOurs;
    }
    let Some(said) = read(frame) else { return Reason::Malformed };
    let claimed = if said.kind == ADVERTISEMENT { said.target } else { said.source };
    if let Some(vip) = gate::vip(claimed)
        && said.mac != Mac::from_octets(vip.mac)
    {
        return match neighbour::claimed_elsewhere(vip, said.mac) {
            Claim::News => Reason::NotOurs,
            Claim::Conflict => Reason::AddressContested,
            Claim::Challenge => announce(ctx, frame, vip, claimed),
        };
    }
    match gate::vip(said.target) {
        Some(vip) if said.kind == SOLICITATION => solicited(ctx, frame, vip, &said),
        _ => Reason::NotOurs,
    }
}

/// Somebody asks for a virtual address.
#[inline(always)]
fn solicited(ctx: &impl Context, frame: Frame, vip: &Vip, said: &NeighbourSays) -> Reason {
    let checks = said.source.is_unspecified();
    if said.mac == Mac::from_octets(vip.mac) {
        // Our own question, reflected: an answer would tell this host's stack that the address is
        // taken.
        Reason::NotOurs
    } else if neighbour::is_held(vip) {
        answer(ctx, frame, vip, said, checks)
    } else if checks {
        // Who checks whether the address is free is not told that it is not, nor kept from asking.
        Reason::NotOurs
    } else {
        count(vip.instance, |counters| counters.dropped += 1);
        Reason::AddressNotHeld
    }
}

/// A message is about to leave: it may claim a virtual address only while we hold it. So does a
/// question from it, and one by which this host would check that it is free: that would take it from
/// who is about to use it.
#[inline(always)]
pub fn egress(frame: Frame, length: usize) -> Reason {
    let (Some(ip), Some(message)) = (header(frame), message(frame)) else {
        return Reason::Malformed;
    };
    // SAFETY: `at` has checked the bounds of both; nobody writes the packet.
    let (ip, message) = unsafe { (&*ip, &*message) };
    let checks = ip.source.is_unspecified();
    let claimed = if message.kind == ADVERTISEMENT || checks { message.target } else { ip.source };
    let Some(vip) = gate::vip(claimed) else { return traffic::egress::<Ipv6>(frame, length) };
    neighbour::claimed_here(vip)
}

#[inline(always)]
fn header(frame: Frame) -> Option<*mut Ipv6> {
    frame.at(Ethernet::LEN)
}

#[inline(always)]
fn message(frame: Frame) -> Option<*mut Message> {
    frame.at(Ethernet::LEN + Ipv6::LEN)
}

/// Reads a message, if it is as RFC 4861 sections 7.1.1 and 7.1.2 want it. The checksum is left to
/// Ethernet's: to go over a message of any length costs more than an answer to a damaged one.
#[inline(always)]
fn read(frame: Frame) -> Option<NeighbourSays> {
    // SAFETY: `at` checks the bounds of each; nobody writes the packet.
    let (ethernet, ip, message) =
        unsafe { (&*frame.ethernet()?, &*header(frame)?, &*message(frame)?) };
    let (source, target) = (ip.source, message.target);
    let solicits = message.kind == SOLICITATION;
    if ip.hop_limit != SAME_LINK || message.code != 0 || target.is_group() {
        return None;
    }
    if !solicits && ip.destination.is_group() && message.flags & SOLICITED != 0 {
        return None;
    }
    let wanted = if solicits { SOURCE_LINK } else { TARGET_LINK };
    let length = u16::from_be(ip.length);
    let (named, mac) = link(frame, usize::from(length), wanted)?;
    if solicits && source.is_unspecified() && (named || !ip.destination.is_solicited_node()) {
        return None;
    }
    let mac = if named && !mac.is_group() { mac } else { ethernet.source };
    Some(NeighbourSays { kind: message.kind, source, target, mac })
}

/// The MAC that an option of the wanted kind names, if there is one, in a message of so many bytes
/// whose options are well formed.
#[inline(always)]
fn link(frame: Frame, length: usize, wanted: u8) -> Option<(bool, Mac)> {
    let mut found = (false, Mac::ZERO);
    let mut at = Message::LEN;
    for _ in 0..MAX_OPTIONS {
        if at >= length {
            break;
        }
        let option = frame.at::<Link>(Ethernet::LEN + Ipv6::LEN + at)?;
        // SAFETY: `at` has checked the bounds.
        let option = unsafe { &*option };
        if option.length == 0 {
            return None;
        }
        if option.kind == wanted && option.length == 1 {
            found = (true, option.mac);
        }
        at += usize::from(option.length) << 3;
    }
    (at == length).then_some(found)
}

/// Turns the solicitation into the advertisement that answers it (RFC 4861 section 7.2.4). Who only
/// checks whether the address is free has none itself, and is told with everybody.
#[inline(always)]
fn answer(
    ctx: &impl Context,
    frame: Frame,
    vip: &Vip,
    said: &NeighbourSays,
    checks: bool,
) -> Reason {
    let done = if checks {
        let everybody = (Address6::ALL_NODES, Mac::ALL_NODES);
        advertise(ctx, frame, vip, said.target, everybody, OVERRIDE)
    } else {
        advertise(ctx, frame, vip, said.target, (said.source, said.mac), SOLICITED | OVERRIDE)
    };
    if !done {
        return Reason::NotOurs;
    }
    count(vip.instance, |counters| counters.answered += 1);
    Reason::AddressAnswered
}

/// Turns another host's claim into our own, to everybody (RFC 4861 section 7.2.6).
#[inline(always)]
fn announce(ctx: &impl Context, frame: Frame, vip: &Vip, claimed: Address6) -> Reason {
    let everybody = (Address6::ALL_NODES, Mac::ALL_NODES);
    if !advertise(ctx, frame, vip, claimed, everybody, OVERRIDE) {
        return Reason::AddressContested;
    }
    count(vip.instance, |counters| counters.defended += 1);
    Reason::AddressDefended
}

/// Makes the packet an advertisement. Where there is no room for it, the packet stays as it is.
#[inline(always)]
fn advertise(
    ctx: &impl Context,
    frame: Frame,
    vip: &Vip,
    target: Address6,
    (to, to_mac): (Address6, Mac),
    flags: u16,
) -> bool {
    const LENGTH: u16 = (Message::LEN + size_of::<Link>()) as u16;
    if !ctx.resize(frame.tags() + Ethernet::LEN + size_of::<Advertisement>()) {
        return false;
    }
    let frame = ctx.frame().like(frame);
    let (Some(ethernet), Some(advertisement)) =
        (frame.ethernet(), frame.at::<Advertisement>(Ethernet::LEN))
    else {
        return false;
    };
    // SAFETY: the bounds have been checked, and nobody else has the packet. The two do not overlap.
    let (ethernet, advertisement) = unsafe { (&mut *ethernet, &mut *advertisement) };
    let mac = Mac::from_octets(vip.mac);
    ethernet.destination = to_mac;
    ethernet.source = mac;
    advertisement.ip = Ipv6 {
        version_class_flow: Ipv6::VERSION,
        length: LENGTH.to_be(),
        next: PROTOCOL_ICMPV6,
        hop_limit: SAME_LINK,
        source: target,
        destination: to,
    };
    let sum = pseudo_sum(target, to, PROTOCOL_ICMPV6, LENGTH)
        + target.sum()
        + add([
            (u16::from(ADVERTISEMENT) << 8).to_be(),
            flags,
            (u16::from(TARGET_LINK) << 8 | 1).to_be(),
        ])
        + add(mac.words());
    advertisement.message =
        Message { kind: ADVERTISEMENT, code: 0, checksum: !fold(sum), flags, reserved: 0, target };
    advertisement.link = Link { kind: TARGET_LINK, length: 1, mac };
    true
}
