//! The kernel side of ogha: entry points, and the only table from a reason to a verdict.
//!
//! * `ogha_xdp`, at each interface: ARP, neighbour discovery, probes, the gate and the counters for what comes in.
//! * `ogha_egress`, at the TCX hook of each interface: the same for what leaves.
//! * `ogha_listener` and `ogha_exit`, for the host: the death watch.
//!
//! They read what the agent has written into the maps, and go on when the agent has died.
#![no_std]
#![no_main]

mod arp;
mod checksum;
mod context;
mod events;
mod gate;
mod ip;
mod ipv4;
mod ipv6;
mod lease;
mod listener;
mod maps;
mod ndp;
mod neighbour;
mod packet;
mod probe;
mod reset;
mod tcp;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{btf_tracepoint, classifier, xdp},
    programs::{BtfTracePointContext, TcContext, XdpContext},
};
use context::Context;
use packet::{Ethernet, Ipv4, KIND_ARP, KIND_IPV4, KIND_IPV6, Tcp};

/// What was found about a packet.
#[derive(Clone, Copy)]
pub enum Reason {
    /// ogha has no say in it.
    NotOurs,
    /// Too short, or not what its header says: the host's own stack judges it.
    Malformed,
    /// From or for a virtual address whose gate lets it pass.
    GateOpen,
    /// From or for a virtual address whose gate does not.
    GateShut,
    /// For a virtual address whose gate is not open, in a frame for another host.
    Flooded,
    /// The packet has become the RST that answers it.
    Rejected,
    /// The packet has become the ARP reply, or the neighbour advertisement.
    AddressAnswered,
    /// A request for a virtual address that we do not hold.
    AddressNotHeld,
    /// Another host claims a virtual address that we hold.
    AddressContested,
    /// The same, and the packet has become our own claim.
    AddressDefended,
    /// The host claims a virtual address that it does not hold.
    ClaimSuppressed,
    /// The packet has become the reply to a peer's probe.
    ProbeAnswered,
    /// A peer's reply, or a probe that could not be answered: all that it says is in the maps.
    ProbeAbsorbed,
    /// A datagram at a probe's port that is none, or not for us, or not new.
    ProbeRefused,
}

/// What happens to a packet.
enum Verdict {
    /// The host's stack, or the wire, gets it.
    Pass,
    /// Nobody gets it.
    Drop,
    /// It goes back to where it came from.
    Return,
}

/// Fails open for everything that is not about a virtual address.
impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NotOurs | Reason::Malformed | Reason::GateOpen | Reason::AddressContested => {
                Self::Pass
            }
            Reason::GateShut
            | Reason::Flooded
            | Reason::AddressNotHeld
            | Reason::ClaimSuppressed
            | Reason::ProbeAbsorbed
            | Reason::ProbeRefused => Self::Drop,
            Reason::Rejected
            | Reason::AddressAnswered
            | Reason::AddressDefended
            | Reason::ProbeAnswered => Self::Return,
        }
    }
}

/// What comes in.
#[xdp]
fn ogha_xdp(ctx: XdpContext) -> u32 {
    match Verdict::from(ingress(&ctx)) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Return => xdp_action::XDP_TX,
    }
}

/// What leaves. `TC_ACT_UNSPEC` lets the next program at the hook speak.
#[classifier]
fn ogha_egress(ctx: TcContext) -> i32 {
    match Verdict::from(egress(&ctx)) {
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop | Verdict::Return => TC_ACT_SHOT,
    }
}

/// A TCP socket changes its state.
#[btf_tracepoint(function = "inet_sock_set_state")]
fn ogha_listener(ctx: BtfTracePointContext) -> Option<()> {
    listener::state_changed(&ctx)
}

/// A task exits.
#[btf_tracepoint(function = "sched_process_exit")]
fn ogha_exit(ctx: BtfTracePointContext) -> Option<()> {
    listener::task_exited(&ctx)
}

#[inline(always)]
fn ingress(ctx: &impl Context) -> Reason {
    match ctx.frame().open() {
        Some((frame, KIND_ARP)) => arp::ingress(frame),
        Some((frame, KIND_IPV4)) => ip::ingress::<Ipv4>(ctx, frame),
        Some((frame, KIND_IPV6)) => ipv6::ingress(ctx, frame),
        Some(_) => Reason::NotOurs,
        None => Reason::Malformed,
    }
}

#[inline(always)]
fn egress(ctx: &TcContext) -> Reason {
    /// The longest headers that we look at, behind two VLAN tags. IPv6 has as much room for its
    /// extensions as IPv4 has for its options, less one word.
    const HEADERS: u32 = (Ethernet::LEN + 8 + 3 * Ipv4::LEN + Tcp::LEN) as u32;
    let length = ctx.len();
    let mut frame = ctx.frame();
    if frame.len() < HEADERS as usize && (frame.len() as u32) < length {
        // Headers may lie in pages that the program cannot see yet. Where there is no memory to
        // pull them in, the packet is judged by what can be seen.
        let _ = ctx.pull_data(if length < HEADERS { length } else { HEADERS });
        frame = ctx.frame();
    }
    match frame.open() {
        Some((frame, KIND_ARP)) => arp::egress(frame),
        Some((frame, KIND_IPV4)) => ip::egress::<Ipv4>(frame, length as usize),
        Some((frame, KIND_IPV6)) => ipv6::egress(frame, length as usize),
        Some(_) => Reason::NotOurs,
        None => Reason::Malformed,
    }
}

/// The kernel lends some of its helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
