//! Clients that go on while the data plane is replaced under them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::{
    frames::{self, ACK, RST, SYN, Segment},
    stage::{PORT, Stage},
    wire::Wire,
};

/// Asks for the VIP and connects to it, again and again, while `change` runs: the gate is claimed, so
/// each question is answered, and each SYN by an RST. Returns how often.
pub fn during(stage: &mut Stage, change: impl FnOnce(&mut Stage)) -> u64 {
    let (client, vip) = (stage.client_end(), stage.vip_end());
    let stop = AtomicBool::new(false);
    let wire = Wire::open(&stage.client);
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut asked = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                asked += 1;
                wire.send(&frames::who_has(client, vip.address));
                wire.expect("the answer", |frame| {
                    frames::read_neighbour(frame).filter(|(_, sender, _)| *sender == vip)
                });
                let sequence = asked as u32;
                let syn = Segment {
                    source: 4000,
                    destination: PORT,
                    sequence,
                    flags: SYN,
                    ..Segment::default()
                };
                wire.send(&syn.packet(client, vip));
                let reply = wire.expect("the RST", Segment::read).2;
                assert_eq!((reply.flags, reply.acknowledgement), (RST | ACK, sequence + 1));
            }
            asked
        });
        change(stage);
        stop.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    })
}
