//! The RST by which a gate that is not open rejects a segment (RFC 9293 section 3.5.2).

use crate::{
    Reason,
    checksum::{add, fold},
    context::Context,
    ip::{Ip, pseudo_sum},
    packet::{Ethernet, Frame, PROTOCOL_TCP, TCP_ACK, TCP_RST, Tcp, number, words},
    tcp::Segment,
};

/// The reply behind its Ethernet header: it has no options and no payload.
#[repr(C)]
struct Reset<I> {
    ip: I,
    tcp: Tcp,
}

/// Turns the segment, which begins at `at`, into the RST that answers it, in place.
#[inline(always)]
pub fn answer<I: Ip>(
    ctx: &impl Context,
    frame: Frame,
    ip: &I,
    at: usize,
    segment: &Segment,
) -> Reason {
    let header = ip.reply(PROTOCOL_TCP, Tcp::LEN as u16);
    let Some(tcp) = frame.at::<Tcp>(at) else { return Reason::Malformed };
    // SAFETY: `at` has checked the bounds; the numbers are copied.
    let numbers = unsafe { (number((*tcp).sequence), number((*tcp).acknowledgement)) };
    let Some(reply) = frame.at::<Reset<I>>(Ethernet::LEN) else { return Reason::Malformed };
    if !frame.turn() {
        return Reason::Malformed;
    }
    // SAFETY: `at` has checked the bounds; what the reply needs of the segment is copied.
    let reply = unsafe { &mut *reply };
    reply.tcp = tcp_header(&header, segment, numbers);
    reply.ip = header;
    // No pointer into the packet is used after this.
    let length = frame.tags() + Ethernet::LEN + size_of::<Reset<I>>();
    if ctx.resize(length) { Reason::Rejected } else { Reason::GateShut }
}

/// RFC 9293: "SEQ=SEG.ACK, CTL=RST" if the segment acknowledges something, and else
/// "SEQ=0, ACK=SEG.SEQ+SEG.LEN, CTL=RST,ACK".
#[inline(always)]
fn tcp_header(ip: &impl Ip, segment: &Segment, (sequence, acknowledgement): (u32, u32)) -> Tcp {
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
    let pseudo = fold(pseudo_sum(ip.source(), ip.destination(), PROTOCOL_TCP, Tcp::LEN as u16));
    let sum = u32::from(tcp.source)
        + u32::from(tcp.destination)
        + add(tcp.sequence)
        + add(tcp.acknowledgement)
        + u32::from((u16::from(tcp.offset) << 8 | u16::from(flags)).to_be());
    // A segment from a neighbouring virtual machine may come with its checksum still to be filled
    // in by hardware, and no program can tell: then the reply's too is filled in, starting from
    // what the field holds, which must be the sum of the pseudo header. The window of an RST means
    // nothing, so it is chosen such that this sum is the right checksum as well.
    tcp.window = !fold(sum + 2 * u32::from(pseudo));
    tcp.checksum = pseudo;
    tcp
}
