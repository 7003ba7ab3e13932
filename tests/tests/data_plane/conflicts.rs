//! What the agent is told about other hosts that claim a virtual address.

use ogha_agent::kernel::Events;
use ogha_common::maps::{EVENT_CONFLICT, Event};
use ogha_tests::lab::clock;

use crate::{stage::Stage, wire::GENEROUS};

pub struct Conflicts {
    runtime: tokio::runtime::Runtime,
    events: Events,
    since_ns: u64,
}

impl Conflicts {
    pub fn of(stage: &mut Stage) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let events = runtime.block_on(async { stage.kernel.take_events() }).unwrap();
        Self { runtime, events, since_ns: clock::now().ns() }
    }

    /// The instance of the next conflict, and the other host's MAC.
    pub fn next(&mut self) -> (u32, u64) {
        let Self { runtime, events, since_ns } = self;
        let told = async { tokio::time::timeout(GENEROUS, events.next()).await.unwrap() };
        let Event { kind, instance, time_ns, detail } = runtime.block_on(told).unwrap();
        assert_eq!(kind, EVENT_CONFLICT);
        assert!(time_ns > *since_ns && time_ns < clock::now().ns());
        *since_ns = time_ns;
        (instance, detail)
    }

    pub fn none_left(&mut self) {
        assert_eq!(self.events.take(), None);
    }
}
