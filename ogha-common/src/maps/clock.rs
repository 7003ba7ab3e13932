//! When a reading of the lease's clock serves for more than one packet.

use core::mem::size_of;

use super::NS_PER_MS;

/// So many packets of a tick read the clock each for itself.
const EXACT: u64 = 64;
/// Of those that follow in the same tick, every so-manieth does: a power of two.
const SHARED: u64 = 16;
/// What must be left of a lease for a reading to be shared: a good deal more than the longest tick,
/// which is 10 ms.
const MARGIN_NS: u64 = 32 * NS_PER_MS;

/// The last reading of `CLOCK_BOOTTIME` on a CPU, for packets of virtual addresses.
///
/// Reading that clock takes longer than all else that is done for such a packet. So where packets are many, they
/// share a reading: one that was taken since the kernel's last tick, for a lease that had far more
/// left than a tick. As long as ticks come, each packet is judged as if it had read the
/// clock itself. Where they have stopped, as on a host whose timekeeping CPU hangs, no more than 15 packets
/// a CPU follow a reading before the next; so no more than that get past the end of a lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Reading {
    /// The kernel's count of ticks (`jiffies`) when the last packet came.
    pub tick: u64,
    /// Packets since that tick.
    pub packets: u64,
    /// What was read, nanoseconds.
    pub boot_ns: u64,
}

impl Reading {
    /// Does it serve for one more packet, at that tick and for a lease that ends then? If not, the
    /// caller reads the clock, and writes down in `boot_ns` what it has read.
    #[must_use]
    #[inline(always)]
    pub const fn serves(&mut self, tick: u64, lease_until_ns: u64) -> bool {
        if self.tick != tick {
            self.tick = tick;
            self.packets = 0;
        }
        self.packets += 1;
        self.packets > EXACT
            && !self.packets.is_multiple_of(SHARED)
            && lease_until_ns > self.boot_ns.saturating_add(MARGIN_NS)
    }
}

const _: () = assert!(size_of::<Reading>() == 24 && SHARED.is_power_of_two());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = NS_PER_MS;

    /// A CPU, and what it has to know.
    #[derive(Default)]
    struct Cpu {
        reading: Reading,
        readings: u64,
    }

    impl Cpu {
        /// Does a packet pass an open gate?
        fn passes(&mut self, now_ns: u64, tick: u64, until_ns: u64) -> bool {
            if !self.reading.serves(tick, until_ns) {
                self.reading.boot_ns = now_ns;
                self.readings += 1;
            }
            self.reading.boot_ns < until_ns
        }
    }

    #[test]
    fn few_packets_read_the_clock_each() {
        let mut cpu = Cpu::default();
        for tick in 0..10 {
            for packet in 0..EXACT {
                assert!(cpu.passes(tick * 4 * MS + packet, tick, u64::MAX));
                assert_eq!(cpu.reading.boot_ns, tick * 4 * MS + packet);
            }
        }
    }

    #[test]
    fn many_packets_share_readings() {
        let mut cpu = Cpu::default();
        for packet in 0..EXACT + 100 * SHARED {
            assert!(cpu.passes(packet, 7, u64::MAX));
        }
        assert_eq!(cpu.readings, EXACT + 100);
    }

    #[test]
    fn where_ticks_have_stopped_fifteen_packets_get_past_the_end() {
        let until = 100 * MS;
        let mut cpu = Cpu::default();
        for _ in 0..10 * SHARED {
            assert!(cpu.passes(MS, 7, until));
        }
        let late = (0..1000).filter(|_| cpu.passes(200 * MS, 7, until)).count();
        assert_eq!(late as u64, SHARED - 1);
    }

    proptest! {
        /// Whatever the traffic, and however long the ticks are.
        #[test]
        fn while_ticks_come_a_lease_ends_when_it_ends(
            until_ns in 0..200 * MS,
            tick_ns in 1..=10 * MS,
            gaps in proptest::collection::vec(prop_oneof![9 => 0..1000_u64, 1 => 0..20 * MS], 500..3000),
        ) {
            let (mut cpu, mut now) = (Cpu::default(), 0);
            for gap in gaps {
                now += gap;
                prop_assert_eq!(cpu.passes(now, now / tick_ns, until_ns), now < until_ns);
            }
        }

        #[test]
        fn where_ticks_have_stopped_few_get_past_the_end(
            until_ns in 0..200 * MS,
            gaps in proptest::collection::vec(0..MS, 500..3000),
        ) {
            let (mut cpu, mut now, mut late) = (Cpu::default(), 0, 0);
            for gap in gaps {
                now += gap;
                late += u64::from(cpu.passes(now, 1, until_ns) && now >= until_ns);
            }
            prop_assert!(late < SHARED);
        }
    }
}
