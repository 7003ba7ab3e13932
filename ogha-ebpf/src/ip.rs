//! What both versions of IP have in common.

use crate::packet::{Address, Frame, PROTOCOL_NONE};

/// The port is no instance's. Not an `Option`, for the reason that [`Segment`] gives.
pub const NOBODY: u32 = u32::MAX;

/// A header of IP, without options.
pub trait Ip: Sized {
    /// The version's addresses.
    type Address: Address;
    /// Bytes.
    const LEN: usize = size_of::<Self>();
    /// A UDP datagram must have a checksum (RFC 8200 section 8.1).
    const UDP_CHECKSUM: bool;
    /// Version 4.
    const IS_V4: bool = !Self::UDP_CHECKSUM;

    /// Who sent the packet.
    fn source(&self) -> Self::Address;
    /// Whom it is for.
    fn destination(&self) -> Self::Address;
    /// What follows this header.
    fn protocol(&self) -> u8;
    /// How many more routers may pass the packet on.
    fn hops(&self) -> u8;
    /// What the packet carries, behind all options. `frame_length` is that of the whole frame, of
    /// which only the beginning may lie in `frame`.
    fn payload(&self, frame: Frame, frame_length: usize) -> Payload;
    /// Is the packet whole, without options, and does it carry so many bytes?
    fn is_plain(&self, length: u16) -> bool;
    /// Back to whom it came from.
    fn turn(&mut self);
    /// The header of a reply that carries so many bytes.
    fn reply(&self, protocol: u8, length: u16) -> Self;
}

/// What a packet carries.
#[derive(Clone, Copy)]
pub struct Payload {
    /// Of its first header; [`PROTOCOL_NONE`] where that is not in this packet, or not found.
    pub protocol: u8,
    /// Where it begins in the frame.
    pub at: usize,
    /// Bytes, as IP tells it.
    pub length: u32,
}

impl Payload {
    /// Nothing that could be told.
    pub const NONE: Self = Self { protocol: PROTOCOL_NONE, at: 0, length: 0 };
}

/// The sum of a pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
#[inline(always)]
pub fn pseudo_sum<A: Address>(source: A, destination: A, protocol: u8, length: u16) -> u32 {
    source.sum()
        + destination.sum()
        + u32::from(u16::from(protocol).to_be())
        + u32::from(length.to_be())
}
