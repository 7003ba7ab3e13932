//! What IPv6 says of a packet (RFC 8200).

use crate::{
    Reason,
    context::Context,
    ip::{Ip, Payload},
    ndp,
    packet::{
        Address6, Ethernet, Extension, Fragment, Frame, Ipv6, PROTOCOL_DESTINATION,
        PROTOCOL_FRAGMENT, PROTOCOL_HOP_BY_HOP, PROTOCOL_ROUTING,
    },
    traffic,
};

/// How many extension headers are looked behind: as many as RFC 8200 section 4.1 lets stand before
/// TCP where nothing is encrypted. Each more costs the kernel's verifier a tenth of its time.
const MAX_EXTENSIONS: usize = 5;

/// A packet of IPv6 has come in.
#[inline(always)]
pub fn ingress(ctx: &impl Context, frame: Frame) -> Reason {
    if ndp::is_neighbour(frame) {
        ndp::ingress(ctx, frame)
    } else {
        traffic::ingress::<Ipv6>(ctx, frame)
    }
}

/// A packet of IPv6 is about to leave.
#[inline(always)]
pub fn egress(frame: Frame, length: usize) -> Reason {
    if ndp::is_neighbour(frame) {
        ndp::egress(frame, length)
    } else {
        traffic::egress::<Ipv6>(frame, length)
    }
}

impl Ip for Ipv6 {
    type Address = Address6;
    const UDP_CHECKSUM: bool = true;

    #[inline(always)]
    fn source(&self) -> Address6 {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> Address6 {
        self.destination
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.next
    }

    /// Behind the extension headers. Which of them a packet has, and whether it makes sense, is for
    /// the host's stack to judge.
    #[inline(always)]
    fn payload(&self, frame: Frame, frame_length: usize) -> Payload {
        let mut payload = Payload {
            protocol: self.next,
            at: Ethernet::LEN + Self::LEN,
            length: match u16::from_be(self.length) {
                0 => (frame_length - Ethernet::LEN - frame.tags() - Self::LEN) as u32,
                length => u32::from(length),
            },
        };
        for _ in 0..MAX_EXTENSIONS {
            let size = match payload.protocol {
                PROTOCOL_HOP_BY_HOP | PROTOCOL_ROUTING | PROTOCOL_DESTINATION => {
                    let Some(header) = frame.at::<Extension>(payload.at) else {
                        return Payload::NONE;
                    };
                    // SAFETY: `at` has checked the bounds.
                    let header = unsafe { &*header };
                    payload.protocol = header.next;
                    (usize::from(header.length) + 1) << 3
                }
                PROTOCOL_FRAGMENT => {
                    let Some(header) = frame.at::<Fragment>(payload.at) else {
                        return Payload::NONE;
                    };
                    // SAFETY: `at` has checked the bounds.
                    let header = unsafe { &*header };
                    if header.is_later() {
                        return Payload::NONE;
                    }
                    payload.protocol = header.next;
                    Fragment::LEN
                }
                _ => return payload,
            };
            payload.at += size;
            payload.length = payload.length.saturating_sub(size as u32);
        }
        payload
    }

    #[inline(always)]
    fn is_plain(&self, length: u16) -> bool {
        self.length == length.to_be()
    }

    #[inline(always)]
    fn turn(&mut self) {
        (self.source, self.destination) = (self.destination, self.source);
    }

    #[inline(always)]
    fn reply(&self, protocol: u8, length: u16) -> Self {
        Self {
            version_class_flow: Self::VERSION,
            length: length.to_be(),
            next: protocol,
            hop_limit: 64,
            source: self.destination,
            destination: self.source,
        }
    }
}
