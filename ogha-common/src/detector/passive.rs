//! Passive health: what the TCP counters of a database's port show by themselves.

use core::time::Duration;

use super::verdict::Passive;
use crate::{maps::PortCounters, units::Instant};

/// SYNs in a row that make a sign: a client repeats one after 1 s and after 3 s.
const SYNS: u32 = 3;
/// How long requests may wait for any response on the whole port. A single long statement is no
/// sign where others are answered, and no more than a sign where there are none.
const STALL: Duration = Duration::from_secs(1);

/// Looks at the counters again and again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watcher {
    last: PortCounters,
    /// The first request since the last response.
    waiting_since: Option<Instant>,
    /// SYNs without any SYN-ACK since.
    unanswered: u32,
    /// SYNs answered by the host's RST, without any SYN-ACK since.
    refused: u32,
}

impl Watcher {
    /// One that counts from here: what happened before says nothing.
    #[must_use]
    pub fn new(counters: PortCounters) -> Self {
        Self { last: counters, ..Self::default() }
    }

    /// What the counters show now; `None`: nothing unusual.
    pub fn observe(&mut self, now: Instant, counters: PortCounters) -> Option<Passive> {
        let last = core::mem::replace(&mut self.last, counters);
        self.follow_requests(&last);
        self.follow_connections(&last);
        if self.refused >= SYNS {
            return Some(Passive::SynRefused(self.refused));
        }
        if self.unanswered >= SYNS {
            return Some(Passive::SynUnanswered(self.unanswered));
        }
        let waited = self.waiting_since.map(|since| now.since(since));
        waited.filter(|waited| *waited >= STALL).map(Passive::RequestStall)
    }

    /// A segment of data towards the port waits until any leaves it.
    fn follow_requests(&mut self, last: &PortCounters) {
        let counters = &self.last;
        if counters.data_out != last.data_out {
            self.waiting_since = None;
        }
        let asked = counters.data_in != last.data_in;
        let behind = counters.data_in_last_ns > counters.data_out_last_ns;
        if asked && behind && self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::from_ns(counters.data_in_last_ns));
        }
    }

    /// A closed gate refuses connections too; that says nothing of the database.
    fn follow_connections(&mut self, last: &PortCounters) {
        let counters = &self.last;
        let more = |now: u64, before: u64| u32::try_from(now - before).unwrap_or(u32::MAX);
        let rejected = more(counters.rejected, last.rejected);
        let syns = more(counters.syn_in, last.syn_in).saturating_sub(rejected);
        let resets = more(counters.rst_out, last.rst_out).saturating_sub(rejected);
        if counters.synack_out != last.synack_out {
            (self.unanswered, self.refused) = (0, 0);
        } else {
            let refused = syns.min(resets);
            self.refused = self.refused.saturating_add(refused);
            self.unanswered = self.unanswered.saturating_add(syns - refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_ns(ms * 1_000_000)
    }

    /// The port's counters, a look at a time.
    struct Port {
        counters: PortCounters,
        watcher: Watcher,
    }

    impl Port {
        fn new() -> Self {
            let counters = PortCounters { syn_in: 9, data_in: 9, ..PortCounters::default() };
            Self { counters, watcher: Watcher::new(counters) }
        }

        fn observe(&mut self, ms: u64, change: impl Fn(&mut PortCounters)) -> Option<Passive> {
            change(&mut self.counters);
            self.watcher.observe(at(ms), self.counters)
        }
    }

    fn request(ms: u64) -> impl Fn(&mut PortCounters) {
        move |c| (c.data_in, c.data_in_last_ns) = (c.data_in + 1, at(ms).ns())
    }

    #[test]
    fn a_request_waits_for_any_response() {
        let mut port = Port::new();
        assert_eq!(port.observe(0, |_| {}), None);
        assert_eq!(port.observe(100, request(90)), None);
        assert_eq!(port.observe(1000, request(990)), None, "the first one has waited for 910 ms");
        let stall = Passive::RequestStall(Duration::from_millis(1010));
        assert_eq!(port.observe(1100, request(1090)), Some(stall));
        let respond = |c: &mut PortCounters| (c.data_out, c.data_out_last_ns) = (1, at(1150).ns());
        assert_eq!(port.observe(1200, respond), None);
        assert_eq!(port.observe(9000, |_| {}), None, "nothing was asked since");
    }

    #[test]
    fn an_idle_port_is_no_stall() {
        let mut port = Port::new();
        port.observe(10, |c| {
            (c.data_in, c.data_in_last_ns) = (10, at(5).ns());
            (c.data_out, c.data_out_last_ns) = (1, at(6).ns());
        });
        assert_eq!(port.observe(60_000, |_| {}), None);
    }

    #[test]
    fn syns_without_an_answer() {
        let mut port = Port::new();
        assert_eq!(port.observe(0, |c| c.syn_in += 2), None);
        assert_eq!(port.observe(1, |c| c.syn_in += 1), Some(Passive::SynUnanswered(3)));
        assert_eq!(port.observe(2, |_| {}), Some(Passive::SynUnanswered(3)), "it holds");
        assert_eq!(port.observe(3, |c| (c.syn_in, c.synack_out) = (c.syn_in + 1, 1)), None);
        assert_eq!(port.observe(4, |c| c.syn_in += 2), None, "counted afresh");
    }

    #[test]
    fn syns_that_the_host_refuses_but_not_those_that_a_closed_gate_does() {
        let mut port = Port::new();
        let closed = |c: &mut PortCounters| {
            (c.syn_in, c.rst_out, c.rejected) = (c.syn_in + 5, c.rst_out + 5, c.rejected + 5);
        };
        assert_eq!(port.observe(0, closed), None);
        let refused = |c: &mut PortCounters| (c.syn_in, c.rst_out) = (c.syn_in + 3, c.rst_out + 3);
        assert_eq!(port.observe(1, refused), Some(Passive::SynRefused(3)));
    }
}
