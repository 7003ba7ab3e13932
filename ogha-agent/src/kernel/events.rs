//! Wake-ups from the programs.

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use ogha_common::maps::Event;
use tokio::io::{Interest, unix::AsyncFd};

/// The events of the data plane, in the order in which the kernel saw them.
///
/// What happened while no agent was running is reported first.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Events {
    /// Must be called within a tokio runtime.
    pub(super) fn new(ring: RingBuf<MapData>) -> anyhow::Result<Self> {
        // SAFETY: the ring owns its descriptor and keeps it open until it is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)
            .context("waiting for the events of the data plane")?;
        Ok(Self { ring })
    }

    /// The next event. May be cancelled at any time: no event is lost by it.
    ///
    /// # Errors
    ///
    /// If the runtime can no longer wait for events.
    pub async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            // What arrives between the look above and the clearing below is seen by the next
            // look; what arrives later wakes us again.
            let mut ready = self.ring.readable().await.context("waiting for events")?;
            ready.clear_ready();
        }
    }

    /// The next event, if there is one already.
    pub fn take(&mut self) -> Option<Event> {
        let ring = self.ring.get_mut();
        loop {
            // A record of another size is from programs of another version.
            if let Ok(event) = bytemuck::try_pod_read_unaligned(&ring.next()?) {
                return Some(event);
            }
        }
    }
}
