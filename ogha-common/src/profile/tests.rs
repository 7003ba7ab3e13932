//! What two nodes say of each other.

extern crate std;

use proptest::prelude::*;
use std::{format, string::String, vec::Vec};

use super::*;

fn profile() -> Profile {
    Profile {
        software: Software { major: 1, minor: 2, patch: 3 },
        database: 2,
        arbiter: 3,
        synchronous: true,
        detect_multiplier: 3,
        database_port: 5432,
        lease: Duration::from_millis(100),
        agent_timeout: Duration::from_secs(3600),
        probe_interval: Duration::from_secs(10),
        vrrp: 3,
        multicast: false,
        advert_centis: 10,
        addresses: fingerprint_of(["10.0.0.9/24"]),
        instance: fingerprint_of(["VI_1"]),
        nodes: fingerprint_of(["db1", "db2"]),
        arbiter_scope: fingerprint_of(["/ogha/"]),
        system: Some(7),
        name: Name::of("db1"),
    }
}

fn found(own: &Profile, peer: &Profile) -> Vec<String> {
    let found = own.compare(&peer.pages());
    found.into_iter().flatten().map(|what| format!("{what}")).collect()
}

#[test]
fn nodes_that_agree_contradict_nothing() {
    let other = Profile { name: Name::of("db2"), ..profile() };
    assert!(found(&profile(), &other).is_empty());
    assert!(found(&profile(), &Profile { system: None, ..profile() }).is_empty(), "unknown");
    assert!(profile().compare(&[0; PAGES]).iter().all(Option::is_none), "nothing was heard");
}

#[test]
fn each_contradiction_is_named_alone() {
    let own = profile();
    for (peer, words) in [
        (Profile { addresses: fingerprint_of(["10.0.0.9/32"]), ..own }, "virtual addresses"),
        (Profile { instance: 5, ..own }, "this instance by another name"),
        (Profile { nodes: 5, ..own }, "another list of nodes"),
        (Profile { lease: Duration::from_millis(200), ..own }, "lease = 200ms, this node 100ms"),
        (Profile { agent_timeout: Duration::from_secs(3), ..own }, "agent_timeout = 3s"),
        (Profile { probe_interval: Duration::from_micros(1500), ..own }, "probe_interval = 1.5ms"),
        (Profile { detect_multiplier: 5, ..own }, "detect_multiplier = 5, this node 3"),
        (Profile { synchronous: false, ..own }, "synchronous = false"),
        (Profile { arbiter: 1, arbiter_scope: 0, ..own }, "arbiter kind none, this node etcd"),
        (Profile { arbiter_scope: 9, ..own }, "elsewhere in etcd"),
        (Profile { database: 1, ..own }, "kind opengauss, this node postgresql"),
        (Profile { database_port: 65535, ..own }, "port 65535, this node 5432"),
        (Profile { vrrp: 2, ..own }, "version 2 of VRRP"),
        (Profile { multicast: true, ..own }, "by multicast, this node by unicast"),
        (Profile { advert_centis: 100, ..own }, "advert_interval = 1s, this node 100ms"),
        (Profile { system: Some(8), ..own }, "system identifier 8, this node 7"),
    ] {
        let found = found(&own, &peer);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(words), "{found:?}: {words}");
    }
    let newer = Software { minor: 3, ..own.software };
    assert_eq!(
        found(&own, &Profile { software: newer, ..own }),
        ["runs ogha 1.3.3, this node 1.2.3: finish the upgrade"]
    );
}

#[test]
fn only_what_would_promote_the_wrong_database_is_dangerous() {
    let own = profile();
    let other = Profile { system: Some(8), lease: Duration::from_secs(1), ..own };
    let found: Vec<_> = own.compare(&other.pages()).into_iter().flatten().collect();
    let dangers: Vec<_> = found.iter().filter_map(Contradiction::danger).collect();
    assert_eq!((found.len(), dangers), (2, std::vec![Danger::OtherDatabase]));
    assert_eq!(Contradiction::OwnName.danger(), Some(Danger::SameName));
}

#[test]
fn the_order_of_a_list_does_not_matter_and_its_members_do() {
    let of = |texts: &[&str]| fingerprint_of(texts.iter().copied());
    assert_eq!(of(&["a", "b"]), of(&["b", "a"]));
    assert_ne!(of(&["10.0.0.1/32", "10.0.0.4/32"]), of(&["10.0.0.2/32", "10.0.0.3/32"]));
    assert_ne!(of(&["a"]), of(&["a", "a"]));
    assert_ne!(of(&[]), 0);
}

#[test]
fn a_name_is_shown_as_far_as_there_is_room() {
    for name in ["db1", "exactly8", "opengaussdb1.example"] {
        assert_eq!(format!("{}", Name::of(name)), name);
        assert!(Name::of(name).is(name));
    }
    let long = "a-name-of-more-than-32-octets-is-cut";
    assert_eq!(format!("{}", Name::of(long)), long[..32]);
    assert!(Name::of(long).is(long) && !Name::of(long).is("db1"));
    let forged = Name::from_pages([0x1b5b_3041_0a00_0000, 0, 0, 0]);
    assert_eq!(format!("{forged}"), "??0A?");
}

proptest! {
    /// Whatever is heard, nothing panics, and it is one sentence of one line.
    #[test]
    fn any_pages_can_be_compared(pages: [u64; PAGES]) {
        for what in profile().compare(&pages).into_iter().flatten() {
            let words = format!("{what}");
            prop_assert!(!words.contains('\n'));
        }
        let name = Name::from_pages(core::array::from_fn(|at| pages[at]));
        let shown = format!("{name}");
        prop_assert!(shown.is_ascii());
    }
}
