//! The kernel side of ogha: entry points, and the only table from a reason to a verdict.
//!
//! * `ogha_xdp`, at each interface: ARP, neighbour discovery, probes, the gate and the counters for
//!   what comes in.
//! * `ogha_ingress`, at the TCX hook of an interface whose XDP another program holds: the same.
//! * `ogha_prove`, the same as `ogha_xdp`, for the moment in which native XDP is tried.
//! * `ogha_egress`, at the TCX hook of each interface: the same for what leaves.
//! * `ogha_listener` and `ogha_exit`, for the host: the death watch.
//!
//! They read what the agent has written into the maps, and go on when the agent has died.
#![no_std]
#![no_main]

mod advert;
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
mod log;
mod maps;
mod ndp;
mod neighbour;
mod packet;
mod probe;
mod prove;
mod reset;
mod tcp;
mod traffic;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::generated::bpf_redirect,
    macros::{btf_tracepoint, classifier, xdp},
    programs::{BtfTracePointContext, TcContext, XdpContext},
};
use context::Context;
pub use ogha_common::reason::Reason;
use packet::{Ethernet, Frame, Ipv4, KIND_ARP, KIND_IPV4, KIND_IPV6, Tcp};

/// What happens to a packet.
enum XdpVerdict {
    /// The host's stack, or the wire, gets it.
    Pass,
    /// Nobody gets it.
    Drop,
    /// It goes back to where it came from.
    Return,
}

/// Fails open for everything that is not about a virtual address.
impl From<Reason> for XdpVerdict {
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
            | Reason::Proving
            | Reason::ProbeAnswered => Self::Return,
        }
    }
}

/// The verdict on what comes in, or leaves. The log is told.
#[inline(always)]
fn judge(ctx: &impl Context, reason: Reason, leaves: bool) -> XdpVerdict {
    log::tell(ctx, reason, leaves);
    XdpVerdict::from(reason)
}

/// What comes in.
#[xdp]
fn ogha_xdp(ctx: XdpContext) -> u32 {
    at_xdp(&ctx, ingress(&ctx))
}

/// The same, while it is not known yet whether what XDP sends back arrives.
#[xdp]
fn ogha_prove(ctx: XdpContext) -> u32 {
    let reason = match prove::ingress(ctx.frame()) {
        Reason::NotOurs => ingress(&ctx),
        reason => reason,
    };
    at_xdp(&ctx, reason)
}

#[inline(always)]
fn at_xdp(ctx: &XdpContext, reason: Reason) -> u32 {
    match judge(ctx, reason, false) {
        XdpVerdict::Pass => xdp_action::XDP_PASS,
        XdpVerdict::Drop => xdp_action::XDP_DROP,
        XdpVerdict::Return => xdp_action::XDP_TX,
    }
}

/// What comes in, where another program holds XDP. `TC_ACT_UNSPEC` lets the next program at the hook
/// speak.
#[classifier]
fn ogha_ingress(ctx: TcContext) -> i32 {
    match judge(&ctx, pulled_ingress(&ctx), false) {
        XdpVerdict::Pass => TC_ACT_UNSPEC,
        XdpVerdict::Drop => TC_ACT_SHOT,
        XdpVerdict::Return => back(&ctx),
    }
}

/// Out of the interface by which it came, and so past [`ogha_egress`] too.
#[inline(always)]
fn back(ctx: &TcContext) -> i32 {
    // SAFETY: the context is the program's own, and the helper takes two numbers.
    unsafe { bpf_redirect(ctx.interface(), 0) as i32 }
}

/// What leaves. `TC_ACT_UNSPEC` lets the next program at the hook speak.
#[classifier]
fn ogha_egress(ctx: TcContext) -> i32 {
    match judge(&ctx, egress(&ctx), true) {
        XdpVerdict::Pass => TC_ACT_UNSPEC,
        XdpVerdict::Drop | XdpVerdict::Return => TC_ACT_SHOT,
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
        Some((frame, KIND_IPV4)) => traffic::ingress::<Ipv4>(ctx, frame),
        Some((frame, KIND_IPV6)) => ipv6::ingress(ctx, frame),
        Some(_) => Reason::NotOurs,
        None => Reason::Malformed,
    }
}

/// The same where the packet's headers may lie out of sight.
#[inline(always)]
fn pulled_ingress(ctx: &TcContext) -> Reason {
    pulled(ctx);
    ingress(ctx)
}

#[inline(always)]
fn egress(ctx: &TcContext) -> Reason {
    if returns(ctx) {
        return Reason::NotOurs;
    }
    let length = ctx.len();
    match pulled(ctx).open() {
        Some((frame, KIND_ARP)) => arp::egress(frame),
        Some((frame, KIND_IPV4)) => traffic::egress::<Ipv4>(frame, length as usize),
        Some((frame, KIND_IPV6)) => ipv6::egress(frame, length as usize),
        Some(_) => Reason::NotOurs,
        None => Reason::Malformed,
    }
}

/// Has it come in here, and turns back? Then it is our own answer, judged and counted already, or
/// another host's packet that this one routes.
#[inline(always)]
fn returns(ctx: &TcContext) -> bool {
    // SAFETY: the context is the program's own.
    unsafe { (*ctx.skb.skb).ingress_ifindex == (*ctx.skb.skb).ifindex }
}

/// The frame with its headers within sight. Those of a packet in the kernel's buffers may lie in
/// pages that a program cannot see. Where there is no memory to pull them in, the packet is judged
/// by what can be seen.
#[inline(always)]
fn pulled(ctx: &TcContext) -> Frame {
    /// The longest headers that we look at, behind two VLAN tags. IPv6 has as much room for its
    /// extensions as IPv4 has for its options, less one word.
    const HEADERS: u32 = (Ethernet::LEN + 8 + 3 * Ipv4::LEN + Tcp::LEN) as u32;
    let (length, frame) = (ctx.len(), ctx.frame());
    if frame.len() >= HEADERS as usize || frame.len() as u32 >= length {
        return frame;
    }
    let _ = ctx.pull_data(if length < HEADERS { length } else { HEADERS });
    ctx.frame()
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
