//! What `data_plane` shows of the programs at XDP, where another program holds XDP and ogha's run at
//! TCX ingress. Needs root.
#![expect(clippy::unwrap_used, reason = "a test panics")]
#![expect(dead_code, reason = "`data_plane` uses the rest")]

#[macro_use]
#[path = "../data_plane/both.rs"]
mod both;

#[path = "../data_plane/advert.rs"]
mod advert;
#[path = "../data_plane/conflicts.rs"]
mod conflicts;
#[path = "../data_plane/foreign.rs"]
mod foreign;
#[path = "../data_plane/frames.rs"]
mod frames;
#[path = "../data_plane/gate.rs"]
mod gate;
#[path = "../data_plane/lease.rs"]
mod lease;
#[path = "../data_plane/ndp.rs"]
mod ndp;
#[path = "../data_plane/neighbour.rs"]
mod neighbour;
#[path = "../data_plane/options.rs"]
mod options;
#[path = "../data_plane/peer.rs"]
mod peer;
#[path = "../data_plane/probe.rs"]
mod probe;
#[path = "../data_plane/stage.rs"]
mod stage;
#[path = "../data_plane/test_run.rs"]
mod test_run;
#[path = "../data_plane/vips.rs"]
mod vips;
#[path = "../data_plane/vlan.rs"]
mod vlan;
#[path = "../data_plane/wire.rs"]
mod wire;

const XDP_IS_TAKEN: bool = true;
