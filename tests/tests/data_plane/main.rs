//! The data plane without the agent's loop: what the programs do with packets and events, and how
//! they outlive who loaded them. Needs root.
#![expect(clippy::unwrap_used, reason = "a test panics")]

#[macro_use]
mod both;

mod advert;
mod attach;
mod clock;
mod conflicts;
mod foreign;
mod frames;
mod gate;
mod lease;
mod log;
mod ndp;
mod neighbour;
mod options;
mod peer;
mod probe;
mod restart;
mod several;
mod stage;
mod stamp;
mod test_run;
mod traffic;
mod vips;
mod vlan;
mod watch;
mod wire;

/// See `data_plane_tcx`.
const XDP_IS_TAKEN: bool = false;
