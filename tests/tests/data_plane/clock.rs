//! The clock of the lease, where packets are so many that they share its readings.

use std::time::Duration;

use ogha_tests::lab::clock;

use crate::{
    frames::{ACK, PSH, Segment},
    stage::{INSTANCE, PORT, Stage, open_for},
    test_run::{DROP, PASS, TestRun},
};

/// Packets at a time: enough to share readings, and done long before the kernel's next tick.
const BATCH: u32 = 500;

/// Packets flood the gate while its lease ends, without a pause in which a tick could come: all
/// pass before that moment, and none after it.
#[test]
fn a_lease_ends_in_a_flood_as_it_does_without() {
    let mut stage = Stage::set("clock");
    let run = TestRun::ingress(&stage.node);
    let data = Segment {
        source: 40_000,
        destination: PORT,
        flags: PSH | ACK,
        payload: vec![0; 64],
        ..Segment::default()
    };
    let frame = data.packet(stage.client_end(), stage.vip_end());
    let dropped = |stage: &Stage| stage.kernel.port_counters(INSTANCE).unwrap().dropped;
    let (mut before, mut after, mut out) = (0, 0, Vec::new());
    for _ in 0..20 {
        let gate = open_for(Duration::from_millis(60));
        stage.gate(gate);
        let mut known = dropped(&stage);
        loop {
            let begun = clock::now().ns();
            let (verdict, _) = run.run(&frame, BATCH, &mut out);
            let ended = clock::now().ns();
            let new = dropped(&stage) - known;
            known += new;
            if ended < gate.lease_until_ns {
                assert_eq!((verdict, new), (PASS, 0));
                before += 1;
            }
            if begun >= gate.lease_until_ns {
                assert_eq!((verdict, new), (DROP, u64::from(BATCH)));
                after += 1;
                break;
            }
        }
    }
    assert!(before > 10 && after == 20, "{before} batches before the end, {after} after it");
}
