//! The RST by which a gate that is not open rejects a segment (RFC 9293 section 3.5.2).

use crate::{
    Reason,
    context::Context,
    packet::{Address, Ethernet, Frame, Ipv4, PROTOCOL_TCP, TCP_ACK, TCP_RST, Tcp, number, words},
    tcp::Segment,
};

/// The reply behind its Ethernet header: it has no options and no payload.
#[repr(C)]
struct Reset {
    ip: Ipv4,
    tcp: Tcp,
}

/// Turns the segment into the RST that answers it, in place.
#[inline(always)]
pub fn answer(ctx: &impl Context, frame: Frame, ip: &Ipv4, segment: &Segment) -> Reason {
    let (source, destination) = (ip.destination, ip.source);
    let Some(tcp) = frame.at::<Tcp>(Ethernet::LEN + ip.header_length()) else {
        return Reason::Malformed;
    };
    // SAFETY: `at` has checked the bounds; the numbers are copied.
    let numbers = unsafe { (number((*tcp).sequence), number((*tcp).acknowledgement)) };
    let Some(reply) = frame.at::<Reset>(Ethernet::LEN) else { return Reason::Malformed };
    if !frame.turn() {
        return Reason::Malformed;
    }
    // SAFETY: `at` has checked the bounds; what the reply needs of the segment is copied.
    let reply = unsafe { &mut *reply };
    reply.ip = ip_header(source, destination);
    reply.tcp = tcp_header(source, destination, segment, numbers);
    // No pointer into the packet is used after this.
    if ctx.shrink(frame.tags() + Ethernet::LEN + size_of::<Reset>()) {
        Reason::Rejected
    } else {
        Reason::GateShut
    }
}

#[inline(always)]
fn ip_header(source: Address, destination: Address) -> Ipv4 {
    let mut ip = Ipv4 {
        version_length: 0x45,
        service: 0,
        total: ((Ipv4::LEN + Tcp::LEN) as u16).to_be(),
        identification: 0,
        fragment: 0x4000_u16.to_be(),
        ttl: 64,
        protocol: PROTOCOL_TCP,
        checksum: 0,
        source,
        destination,
    };
    let sum = add(source)
        + add(destination)
        + u32::from(0x4500_u16.to_be())
        + u32::from(ip.total)
        + u32::from(ip.fragment)
        + u32::from((64 << 8 | u16::from(PROTOCOL_TCP)).to_be());
    ip.checksum = !fold(sum);
    ip
}

/// RFC 9293: "SEQ=SEG.ACK, CTL=RST" if the segment acknowledges something, and else
/// "SEQ=0, ACK=SEG.SEQ+SEG.LEN, CTL=RST,ACK".
#[inline(always)]
fn tcp_header(
    source: Address,
    destination: Address,
    segment: &Segment,
    (sequence, acknowledgement): (u32, u32),
) -> Tcp {
    let (sequence, acknowledgement, flags) = if segment.acknowledges() {
        (acknowledgement, 0, TCP_RST)
    } else {
        (0, sequence.wrapping_add(segment.length()), TCP_RST | TCP_ACK)
    };
    let mut tcp = Tcp {
        source: segment.destination.to_be(),
        destination: segment.source.to_be(),
        sequence: words(sequence),
        acknowledgement: words(acknowledgement),
        offset: (Tcp::LEN as u8 / 4) << 4,
        flags,
        window: 0,
        checksum: 0,
        urgent: 0,
    };
    let pseudo = fold(
        add(source)
            + add(destination)
            + u32::from(u16::from(PROTOCOL_TCP).to_be())
            + u32::from((Tcp::LEN as u16).to_be()),
    );
    let sum = u32::from(tcp.source)
        + u32::from(tcp.destination)
        + add_words(tcp.sequence)
        + add_words(tcp.acknowledgement)
        + u32::from((u16::from(tcp.offset) << 8 | u16::from(flags)).to_be());
    // A segment from a neighbouring virtual machine may come with its checksum still to be filled
    // in by hardware, and no program can tell: then the reply's too is filled in, starting from
    // what the field holds, which must be the sum of the pseudo header. The window of an RST means
    // nothing, so it is chosen such that this sum is the right checksum as well.
    tcp.window = !fold(sum + 2 * u32::from(pseudo));
    tcp.checksum = pseudo;
    tcp
}

#[inline(always)]
fn add(address: Address) -> u32 {
    add_words(address.words())
}

#[inline(always)]
fn add_words(words: [u16; 2]) -> u32 {
    u32::from(words[0]) + u32::from(words[1])
}

/// The one's complement sum of 16-bit words, whatever their byte order (RFC 1071 section 2).
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}
