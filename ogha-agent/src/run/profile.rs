//! What this node says of its configuration to its peers.

use ogha_common::{
    profile::{Name, Profile, Software, fingerprint_of, fingerprint_of_nodes},
    units::NodeId,
};

use crate::config::{Arbiter, Database, Instance, Transport};

/// By the configuration alone: the database's identifier is not known yet.
pub fn of(node: &str, config: &Instance) -> Profile {
    let addresses: Vec<_> = config.virtual_addresses.iter().map(ToString::to_string).collect();
    let peers = config.peers.iter().map(|peer| peer.name.as_str());
    let (database, arbiter) = kinds(config);
    Profile {
        software: software(),
        database,
        arbiter,
        synchronous: config.failover.synchronous,
        detect_multiplier: config.liveness.detect_multiplier,
        database_port: config.database.port().unwrap_or(0),
        lease: config.liveness.lease,
        agent_timeout: config.liveness.agent_timeout,
        probe_interval: config.liveness.probe_interval,
        vrrp: config.vrrp.version,
        multicast: config.vrrp.transport == Transport::Multicast,
        advert_centis: config.vrrp.advert_interval.get(),
        addresses: fingerprint_of(addresses.iter().map(String::as_str)),
        instance: fingerprint_of([config.name.as_str()]),
        nodes: fingerprint_of_nodes(peers.chain([node]).map(NodeId::of)),
        arbiter_scope: scope(&config.arbiter),
        system: None,
        name: Name::of(node),
    }
}

/// As [`ogha_common::profile::database_kind`] and [`ogha_common::profile::arbiter_kind`] read them.
fn kinds(config: &Instance) -> (u8, u8) {
    let database = match config.database {
        Database::Opengauss(_) => 1,
        Database::Postgresql(_) => 2,
        Database::None { .. } => 4,
    };
    let arbiter = match config.arbiter {
        Arbiter::None => 1,
        Arbiter::Gateway(_) => 2,
        Arbiter::Etcd(_) => 3,
    };
    (database, arbiter)
}

/// Gateways may differ, for the nodes may be in different networks; so may the endpoints of one etcd.
fn scope(arbiter: &Arbiter) -> u64 {
    match arbiter {
        Arbiter::Etcd(etcd) => fingerprint_of([etcd.prefix.as_str()]),
        Arbiter::None | Arbiter::Gateway(_) => 0,
    }
}

/// The version of this build.
fn software() -> Software {
    let mut numbers =
        env!("CARGO_PKG_VERSION").split(['.', '-', '+']).map(|part| part.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    Software { major: next(), minor: next(), patch: next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_this_builds() {
        assert!(software().to_string().starts_with(&env!("CARGO_PKG_VERSION")[..5]));
    }
}
