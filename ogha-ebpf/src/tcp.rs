//! What a TCP segment says, and the counters that it moves.

use ogha_common::maps::PortCounters;

use crate::packet::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Tcp};

/// What the programs need to know of a segment. All zero in a packet that has none: an `Option`
/// would leave registers unset, which the kernel's verifier refuses to see copied.
pub struct Segment {
    present: bool,
    /// Port of the sender, host order.
    pub source: u16,
    /// Port of the receiver, host order.
    pub destination: u16,
    /// Bytes of payload.
    pub payload: u32,
    flags: u8,
}

impl Segment {
    /// There is none.
    pub const NONE: Self = Self { present: false, source: 0, destination: 0, payload: 0, flags: 0 };

    /// Reads a header; `length` is that of the segment, headers included, as IP tells it.
    #[inline(always)]
    pub fn new(tcp: &Tcp, length: u32) -> Self {
        Self {
            present: true,
            source: u16::from_be(tcp.source),
            destination: u16::from_be(tcp.destination),
            payload: length.saturating_sub(tcp.header_length()),
            flags: tcp.flags,
        }
    }

    #[inline(always)]
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// May it be answered by an RST? Another RST may not.
    #[inline(always)]
    pub fn is_answerable(&self) -> bool {
        self.present && !self.has(TCP_RST)
    }

    /// ACK is set.
    #[inline(always)]
    pub fn acknowledges(&self) -> bool {
        self.has(TCP_ACK)
    }

    /// `SEG.LEN` of RFC 9293 section 3.4: SYN and FIN each take a sequence number.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.payload + u32::from(self.has(TCP_SYN)) + u32::from(self.has(TCP_FIN))
    }

    /// It ends the connection and says nothing else.
    #[inline(always)]
    pub fn only_ends(&self) -> bool {
        self.has(TCP_RST | TCP_FIN) && self.payload == 0
    }

    /// Does it move a counter? A bare acknowledgement, the most frequent of all, does not.
    #[inline(always)]
    pub fn is_counted(&self) -> bool {
        self.has(TCP_SYN | TCP_RST | TCP_FIN) || self.payload != 0
    }
}

/// Counts a segment towards the instance's port.
#[inline(always)]
pub fn count_in(counters: &mut PortCounters, segment: &Segment, now: u64) {
    if segment.payload != 0 {
        counters.data_in += 1;
        counters.data_in_last_ns = now;
    }
    if !segment.has(TCP_SYN | TCP_RST | TCP_FIN) {
        return;
    }
    if segment.has(TCP_SYN) && !segment.has(TCP_ACK) {
        counters.syn_in += 1;
        counters.syn_in_last_ns = now;
    }
    if segment.has(TCP_RST) {
        counters.rst_in += 1;
        counters.rst_in_last_ns = now;
    }
    if segment.has(TCP_FIN) {
        counters.fin_in += 1;
    }
}

/// Counts a segment from the instance's port.
#[inline(always)]
pub fn count_out(counters: &mut PortCounters, segment: &Segment, now: u64) {
    if segment.payload != 0 {
        counters.data_out += 1;
        counters.data_out_last_ns = now;
    }
    if !segment.has(TCP_SYN | TCP_RST | TCP_FIN) {
        return;
    }
    if segment.has(TCP_SYN) && segment.has(TCP_ACK) {
        counters.synack_out += 1;
        counters.synack_out_last_ns = now;
    }
    if segment.has(TCP_RST) {
        counters.rst_out += 1;
        counters.rst_out_last_ns = now;
    }
    if segment.has(TCP_FIN) {
        counters.fin_out += 1;
    }
}
