//! `[instance.liveness]`

use std::{path::PathBuf, time::Duration};

use super::{
    reader::{Read, Reader},
    types::Liveness,
    value::{self, show},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Two lost probes in a row must not end a lease.
const LEAST_PROBES_A_LEASE: u8 = 3;

pub(super) fn read(table: &Reader<'_>) -> Read<Liveness> {
    let port = table.or("port", 26112, value::port);
    let probe_interval =
        table.or("probe_interval", 10 * MS, |value| value::duration(value, MS..=10 * SECOND));
    let detect_multiplier =
        table.or("detect_multiplier", 3, |value| value::integer(value, 1..=u8::MAX, "3"));
    let lease = table.or("lease", 100 * MS, |value| value::duration(value, 3 * MS..=60 * SECOND));
    let agent_timeout = table
        .or("agent_timeout", 3 * SECOND, |value| value::duration(value, 3 * MS..=3600 * SECOND));
    let hang_timeout = table
        .or("hang_timeout", 2 * SECOND, |value| value::duration(value, 500 * MS..=3600 * SECOND));
    let key_file = table.or("key_file", PathBuf::from("/etc/ogha/cluster.key"), value::path);
    table.finish();
    let liveness = Liveness {
        port: port?,
        probe_interval: probe_interval?,
        detect_multiplier: detect_multiplier?,
        lease: lease?,
        agent_timeout: agent_timeout?,
        hang_timeout: hang_timeout?,
        key_file: key_file?,
    };
    relations(table, &liveness);
    Some(liveness)
}

/// A lease must outlast the loss of a few probes, and the finding that a peer is lost; else the
/// gate of a healthy primary lapses. An agent that is only slow must not be taken for dead
/// within one lease.
fn relations(table: &Reader<'_>, liveness: &Liveness) {
    let probes = liveness.detect_multiplier.max(LEAST_PROBES_A_LEASE);
    let least = liveness.probe_interval * u32::from(probes);
    if liveness.lease < least {
        table.problem(
            blame(table, &["lease", "probe_interval", "detect_multiplier"]),
            format!(
                "lease ({}) is shorter than {probes} probe intervals of {}; choose a lease of at \
                 least {}",
                show(liveness.lease),
                show(liveness.probe_interval),
                show(least)
            ),
        );
    }
    if liveness.agent_timeout < liveness.lease {
        table.problem(
            blame(table, &["agent_timeout", "lease"]),
            format!(
                "agent_timeout ({}) is shorter than lease ({}); choose at least as long",
                show(liveness.agent_timeout),
                show(liveness.lease)
            ),
        );
    }
}

/// The first of the keys that the file sets: a default is never to blame.
fn blame<'k>(table: &Reader<'_>, keys: &[&'k str]) -> &'k str {
    keys.iter().find(|key| table.has(key)).copied().unwrap_or(keys[0])
}
