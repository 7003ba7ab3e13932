//! One line for each packet in which ogha had a say, for a person who looks. Where nobody has asked
//! for it when the programs were loaded, the verifier removes all but the reading of a constant.

use aya_log_ebpf::trace;
use ogha_common::reason::Reason;

use crate::context::Context;

/// 1: lines are wanted. Written by the loader.
#[unsafe(no_mangle)]
static LOG: u8 = 0;

/// Tells what was found about a packet that comes in, or leaves.
#[inline(always)]
pub fn tell(ctx: &impl Context, reason: Reason, leaves: bool) {
    // SAFETY: a static; volatile, for the loader has written another value than the compiler sees.
    if unsafe { (&raw const LOG).read_volatile() } != 0
        && !matches!(reason, Reason::NotOurs | Reason::Malformed)
    {
        line(u32::from(leaves), ctx.interface(), reason.number());
    }
}

/// Numbers, which the agent makes words of: a copy of text of unknown length would be hard to
/// verify. A function of its own, for the programs' frames have no room for the line.
#[inline(never)]
fn line(leaves: u32, interface: u32, reason: u32) {
    trace!((), "{} {} {}", leaves, interface, reason);
}
