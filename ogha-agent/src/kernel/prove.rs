//! Is native XDP heard? An attach that succeeds proves nothing: a driver may take the program and
//! lose what it sends back, as veth does whose other end has no native program.
//!
//! The proof needs one neighbour that answers ARP, and disturbs nobody: the agent asks for the
//! neighbour's address, and the program turns each reply into the next question. A second reply
//! comes only if what XDP has sent back was heard.

use std::{thread, time::Duration};

use anyhow::Context as _;
use aya::maps::{Array, MapData};
use ogha_common::maps::{PROOF_REPLIES, Proof};

use super::{Plain, place::Place};
use crate::net::{announce::Announcer, interface::Interface};

/// How often each neighbour is asked.
const TRIES: u32 = 2;
/// How long a try takes at most: a neighbour on the LAN answers in well under a millisecond.
const WAIT: Duration = Duration::from_millis(40);
const LOOK: Duration = Duration::from_millis(1);
/// How long a driver may take to bring its link up again after it has taken a program.
const CARRIER: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofOutcome {
    /// What XDP sends back is heard.
    Heard,
    /// A neighbour answers the agent, but not XDP.
    Unheard,
    /// No neighbour answers anybody.
    Silence,
}

/// Finds out, with the proving program attached. Takes a tenth of a second at most for each
/// neighbour, plus what the link takes to come up.
pub fn native(
    map: &mut Array<MapData, Plain<Proof>>,
    place: &Place,
) -> anyhow::Result<ProofOutcome> {
    let Some(own) = place.own else { return Ok(ProofOutcome::Silence) };
    wait_for_carrier(&place.interface);
    let announcer = Announcer::open(&place.interface)?;
    let mut outcome = ProofOutcome::Silence;
    for neighbour in &place.neighbours {
        for _ in 0..TRIES {
            let proof = Proof { neighbour: neighbour.octets(), replies: 0 };
            map.set(0, Plain(proof), 0).context("setting whom to ask")?;
            // A link that is down refuses: nobody answers then.
            let _ = announcer.ask(own, *neighbour);
            match replies(map)? {
                0 => {}
                PROOF_REPLIES.. => return Ok(ProofOutcome::Heard),
                _ => outcome = ProofOutcome::Unheard,
            }
        }
    }
    Ok(outcome)
}

/// How many have come, as soon as they are enough.
fn replies(map: &Array<MapData, Plain<Proof>>) -> anyhow::Result<u32> {
    let mut waited = Duration::ZERO;
    loop {
        let Plain(proof) = map.get(&0, 0).context("reading who has answered")?;
        if proof.replies >= PROOF_REPLIES || waited >= WAIT {
            return Ok(proof.replies);
        }
        thread::sleep(LOOK);
        waited += LOOK;
    }
}

fn wait_for_carrier(interface: &Interface) {
    let mut waited = Duration::ZERO;
    while !interface.is_running() && waited < CARRIER {
        thread::sleep(10 * LOOK);
        waited += 10 * LOOK;
    }
}
