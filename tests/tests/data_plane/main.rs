//! The data plane without the agent's loop: what the programs do with packets and events, and how
//! they outlive who loaded them. Needs root.
#![expect(clippy::unwrap_used, reason = "a test panics")]

/// Plays each scenario once on IPv4 and once on IPv6.
macro_rules! on_both_versions {
    ($($scenario:ident),+ $(,)?) => {
        mod ipv4 {
            $(#[test] fn $scenario() { super::$scenario(crate::stage::Version::V4); })+
        }
        mod ipv6 {
            $(#[test] fn $scenario() { super::$scenario(crate::stage::Version::V6); })+
        }
    };
}

mod conflicts;
mod frames;
mod gate;
mod lease;
mod ndp;
mod neighbour;
mod options;
mod peer;
mod probe;
mod restart;
mod stage;
mod test_run;
mod vips;
mod vlan;
mod watch;
mod wire;
