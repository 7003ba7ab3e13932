//! Does what XDP sends back arrive? A neighbour's ARP reply is turned into the question that it
//! answers: if the neighbour answers that too, it does. To the neighbour these are ordinary
//! questions of this host for the neighbour's own address.

use ogha_common::maps::PROOF_REPLIES;

use crate::{
    Reason,
    maps::{PROOF, STAMP, is_own_mac},
    packet::{Address as _, Arp, Ethernet, Frame, KIND_ARP, Mac},
};

/// A frame has come in. The last reply goes to the host's stack.
#[inline(always)]
pub fn ingress(frame: Frame) -> Reason {
    let (Some(ethernet), Some(arp)) = (frame.at::<Ethernet>(0), frame.at::<Arp>(Ethernet::LEN))
    else {
        return Reason::NotOurs;
    };
    // SAFETY: `at` has checked the bounds; nobody else has the packet.
    let (ethernet, arp) = unsafe { (&mut *ethernet, &mut *arp) };
    if ethernet.kind != KIND_ARP
        || arp.format != Arp::FORMAT
        || arp.operation != Arp::REPLY
        || !is_own_mac(arp.target_mac.number())
        || !counts(arp)
    {
        return Reason::NotOurs;
    }
    let own = arp.target_mac;
    ethernet.destination = arp.sender_mac;
    ethernet.source = own;
    arp.operation = Arp::REQUEST;
    arp.target_mac = Mac::from_octets([0; 6]);
    arp.sender_mac = own;
    (arp.sender, arp.target) = (arp.target, arp.sender);
    Reason::Proving
}

/// Is it the neighbour's, and is another wanted?
#[inline(always)]
fn counts(arp: &Arp) -> bool {
    // A map that no program uses is not in the object.
    let _ = STAMP.get_ptr(0);
    let Some(proof) = PROOF.get_ptr_mut(0) else { return false };
    // SAFETY: the element stays while the program runs. Replies come one after the other, for each
    // answers the last, and one that is not counted makes the agent try again.
    unsafe {
        if arp.sender.key() != ogha_common::maps::VipKey::v4((*proof).neighbour).words() {
            return false;
        }
        (*proof).replies += 1;
        (*proof).replies < PROOF_REPLIES
    }
}
