//! What IPv4 says of a packet (RFC 791).

use crate::{
    checksum::{add, fold},
    ip::{Ip, Payload},
    packet::{Address as _, Address4, Ethernet, Frame, Ipv4},
};

impl Ip for Ipv4 {
    type Address = Address4;
    const UDP_CHECKSUM: bool = false;

    #[inline(always)]
    fn source(&self) -> Address4 {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> Address4 {
        self.destination
    }

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn payload(&self, frame: Frame, frame_length: usize) -> Payload {
        let header = self.header_length();
        if self.is_later_fragment() || header < Self::LEN {
            return Payload::NONE;
        }
        let total = match u16::from_be(self.total) {
            0 => (frame_length - Ethernet::LEN - frame.tags()) as u32,
            total => u32::from(total),
        };
        let length = total.saturating_sub(header as u32);
        Payload { protocol: self.protocol, at: Ethernet::LEN + header, length }
    }

    #[inline(always)]
    fn is_plain(&self, length: u16) -> bool {
        self.header_length() == Self::LEN
            && !self.is_fragment()
            && self.total == (Self::LEN as u16 + length).to_be()
    }

    #[inline(always)]
    fn turn(&mut self) {
        (self.source, self.destination) = (self.destination, self.source);
    }

    #[inline(always)]
    fn reply(&self, protocol: u8, length: u16) -> Self {
        const TTL: u8 = 64;
        const DO_NOT_FRAGMENT: u16 = 0x4000_u16.to_be();
        let (source, destination) = (self.destination, self.source);
        let total = (Self::LEN as u16 + length).to_be();
        let sum = source.sum()
            + destination.sum()
            + add([
                0x4500_u16.to_be(),
                total,
                DO_NOT_FRAGMENT,
                (u16::from(TTL) << 8 | u16::from(protocol)).to_be(),
            ]);
        Self {
            version_length: 0x45,
            service: 0,
            total,
            identification: 0,
            fragment: DO_NOT_FRAGMENT,
            ttl: TTL,
            protocol,
            checksum: !fold(sum),
            source,
            destination,
        }
    }
}
