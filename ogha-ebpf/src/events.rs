//! Wake-ups for the agent.

use ogha_common::maps::Event;

use crate::maps::EVENTS;

/// Tells the agent that something is worth a look. A full buffer loses the event, which costs
/// nothing: the maps hold the state, and the agent has been woken already.
#[inline(always)]
pub fn emit(kind: u32, instance: u32, time_ns: u64, detail: u64) {
    if let Some(mut entry) = EVENTS.reserve(0) {
        entry.write(Event { kind, instance, time_ns, detail });
        entry.submit(0);
    }
}
