//! Single values: wrong keys, types, ranges and words.

use super::*;

#[test]
fn unknown_keys_are_named_with_the_nearest() {
    refused(&[
        (
            "name = \"db1\"",
            "name = \"db1\"\nstate-dir = \"/x\"",
            "f:3: node.state-dir: unknown key; did you mean \"state_dir\"?",
        ),
        (
            "virtual_router_id = 59",
            "virtual_router_id = 59\nPriority = 1",
            "f:7: instance.Priority: unknown key; did you mean \"priority\"?",
        ),
        (
            "version = 3",
            "advert_intervall = \"1s\"",
            "f:9: instance.vrrp.advert_intervall: unknown key; did you mean \"advert_interval\"?",
        ),
        (
            "version = 3",
            "priority = 3",
            "f:9: instance.vrrp.priority: unknown key here; it belongs to [[instance]]",
        ),
        (
            "max_lag = \"0B\"",
            "quorum = 2",
            "f:20: instance.failover.quorum: unknown key; the nearest known key is \"rejoin\"",
        ),
        (
            "[node]",
            "[node]\n\"a\\nb\" = 1",
            "f:2: node.\"a\\nb\": unknown key; the nearest known key is \"name\"",
        ),
        (
            "[instance.failover]",
            "[instance.failovr]",
            "f:19: instance.failovr: unknown key; did you mean \"failover\"?",
        ),
        (
            "[node]",
            "[nod]",
            "f:1: node: is missing; add the table [node]\nf:1: nod: unknown key; did you mean \"node\"?",
        ),
    ]);
}

#[test]
fn wrong_types_are_named() {
    refused(&[
        (
            "name = \"db1\"",
            "name = 1",
            "f:2: node.name: must be a string, not an integer; write for example \"node1\"",
        ),
        (
            "name = \"db1\"",
            "name = \"db1\"\nrealtime = \"yes\"",
            "f:3: node.realtime: must be true or false, not a string; write for example true",
        ),
        (
            "virtual_router_id = 59",
            "virtual_router_id = \"59\"",
            "f:6: instance.virtual_router_id: must be an integer, not a string; write for example \
             59",
        ),
        (
            "virtual_router_id = 59",
            "virtual_router_id = 59.0",
            "f:6: instance.virtual_router_id: must be an integer, not a float; write for example \
             59",
        ),
        (
            "[\"192.168.1.10/32\"]",
            "\"192.168.1.10/32\"",
            "f:7: instance.virtual_addresses: must be a list, not a string; write for example \
             [\"192.168.1.10/32\"]",
        ),
        (
            "[\"192.168.1.10/32\"]",
            "[\n  \"192.168.1.10/32\",\n  7]",
            "f:9: instance.virtual_addresses: must be a string, not an integer; write for example \
             \"192.168.1.10/32\"",
        ),
        (
            "version = 3",
            "advert_interval = 100",
            "f:9: instance.vrrp.advert_interval: must be a duration in quotes, not an integer; \
             write for example \"10ms\" (VRRP version 3)",
        ),
        (
            "max_lag = \"0B\"",
            "max_lag = 0",
            "f:20: instance.failover.max_lag: must be a size in quotes, not an integer; write for \
             example \"16MB\"",
        ),
        (
            "[[instance.peer]]",
            "[instance.peer]",
            "f:10: instance.peer: must be a list of tables, not a table; begin each with \
             [[instance.peer]]",
        ),
        (
            "[instance.failover]",
            "[[instance.failover]]",
            "f:19: instance.failover: must be a table, not an array; begin it with \
             [instance.failover]",
        ),
    ]);
    assert_eq!(
        parse("node = 1\ninstance = [1]").unwrap_err().to_string(),
        "f:1: node: must be a table, not an integer; begin it with [node]\n\
         f:2: instance: must be a list of tables, not an integer; begin each with [[instance]]"
    );
}

#[test]
fn wrong_numbers_are_named_with_their_range() {
    for (given, shown) in [("0", "0"), ("256", "256"), ("-1", "-1"), ("0x100", "0x100")] {
        let what =
            format!("f:6: instance.virtual_router_id: {shown} is out of range; choose 1 to 255");
        assert_eq!(complaint("_id = 59", &format!("_id = {given}")), what);
    }
    let huge = "99999999999999999999";
    refused(&[
        (
            "_id = 59",
            "_id = 59\npriority = 255",
            "f:7: instance.priority: 255 is out of range; choose 1 to 254",
        ),
        (
            "_id = 59",
            "_id = 59\npriority = 0",
            "f:7: instance.priority: 0 is out of range; choose 1 to 254",
        ),
        (
            "port = 26112",
            "port = 0",
            "f:14: instance.liveness.port: 0 is out of range; choose 1 to 65535",
        ),
        (
            "port = 26112",
            "port = 65536",
            "f:14: instance.liveness.port: 65536 is out of range; choose 1 to 65535",
        ),
        (
            "port = 26112",
            &format!("port = {huge}"),
            "f:14: instance.liveness.port: 99999999999999999999 is out of range; choose 1 to 65535",
        ),
        (
            "user = \"omm\"",
            "user = \"omm\"\nport = 70000",
            "f:19: instance.database.port: 70000 is out of range; choose 1 to 65535",
        ),
        (
            "version = 3",
            "version = 1",
            "f:9: instance.vrrp.version: 1 is out of range; choose 2 to 3",
        ),
        (
            "port = 26112",
            "detect_multiplier = 0",
            "f:14: instance.liveness.detect_multiplier: 0 is out of range; choose 1 to 255",
        ),
    ]);
}

#[test]
fn wrong_durations_and_sizes_are_named() {
    let no_duration = |text: &str| {
        format!(
            "f:14: instance.liveness.lease: {text:?} is no duration; write a whole number and us, \
             ms, s, min or h, as in \"10ms\""
        )
    };
    for text in ["", "10", "ms", "1.5s", "-1s", "10 parsecs", "18446744073709551615s", "1m", "é"] {
        let lease = format!("lease = {text:?}");
        assert_eq!(complaint("port = 26112", &lease), no_duration(text));
    }
    for text in ["16", "16mb", "1.5GB", "-1B", "99999999999TB", "B"] {
        let what = format!(
            "f:20: instance.failover.max_lag: {text:?} is no size; write a whole number and B, kB, \
             MB, GB or TB, as in \"16MB\""
        );
        assert_eq!(complaint("\"0B\"", &format!("{text:?}")), what);
    }
    refused(&[
        (
            "version = 3",
            "advert_interval = \"15ms\"",
            "f:9: instance.vrrp.advert_interval: VRRP version 3 counts in steps of 10ms; choose a \
             multiple, not 15ms",
        ),
        (
            "version = 3",
            "advert_interval = \"41s\"",
            "f:9: instance.vrrp.advert_interval: \"41s\" is out of range; choose 10ms to 40950ms \
             (VRRP version 3)",
        ),
        (
            "version = 3",
            "advert_interval = \"0s\"",
            "f:9: instance.vrrp.advert_interval: \"0s\" is out of range; choose 10ms to 40950ms \
             (VRRP version 3)",
        ),
        (
            "version = 3",
            "version = 2\nadvert_interval = \"100ms\"",
            "f:10: instance.vrrp.advert_interval: \"100ms\" is out of range; choose 1s to 40s \
             (VRRP version 2)",
        ),
        (
            "version = 3",
            "version = 2\nadvert_interval = \"1500ms\"",
            "f:10: instance.vrrp.advert_interval: VRRP version 2 counts in steps of 1s; choose a \
             multiple, not 1500ms",
        ),
        (
            "port = 26112",
            "probe_interval = \"0ms\"",
            "f:14: instance.liveness.probe_interval: \"0ms\" is out of range; choose 1ms to 10s",
        ),
    ]);
}

#[test]
fn wrong_words_and_addresses_are_named() {
    refused(&[
        ("\"db1\"", "\"\"", "f:2: node.name: is empty; write for example \"node1\""),
        (
            "\"db1\"",
            "\"d b\"",
            "f:2: node.name: \"d b\" is no name; use at most 64 letters, digits, hyphens, \
             underscores and dots",
        ),
        (
            "name = \"db1\"",
            "name = \"db1\"\nrun_dir = \"run\"",
            "f:3: node.run_dir: \"run\" is a relative path; write the whole path, from /",
        ),
        (
            "\"eth0\"",
            "\"a-name-far-too-long\"",
            "f:5: instance.interface: \"a-name-far-too-long\" is no interface name; `ip link` \
             shows the names",
        ),
        (
            "version = 3",
            "transport = \"multcast\"",
            "f:9: instance.vrrp.transport: \"multcast\" is unknown; did you mean \"multicast\"?",
        ),
        (
            "version = 3",
            "transport = \"carrier pigeon\"",
            "f:9: instance.vrrp.transport: \"carrier pigeon\" is unknown; choose \"unicast\" or \
             \"multicast\"",
        ),
        (
            "version = 3",
            "auth_pass = \"1111\"",
            "f:9: instance.vrrp.auth_pass: version 3 has no password (RFC 9568 section 9); remove \
             it, or set version = 2",
        ),
        (
            "version = 3",
            "version = 2\nauth_pass = \"123456789\"",
            "f:10: instance.vrrp.auth_pass: does not fit; use 1 to 8 ASCII letters, digits or \
             signs",
        ),
        (
            "\"opengauss\"",
            "\"postgres\"",
            "f:16: instance.database.kind: \"postgres\" is unknown; did you mean \"postgresql\"?",
        ),
        (
            "\"omm\"",
            "\"root\"",
            "f:18: instance.database.user: database servers refuse to run as root; name the user \
             that owns the data directory",
        ),
        (
            "[\"192.168.1.10/32\"]",
            "[]",
            "f:7: instance.virtual_addresses: is empty; write for example [\"192.168.1.10/32\"]",
        ),
    ]);
    for (given, what) in [
        ("192.168.1.10/0", "prefix \"0\" is out of range; choose 1 to 32"),
        ("192.168.1.10/33", "prefix \"33\" is out of range; choose 1 to 32"),
        ("192.168.1.10/", "prefix \"\" is out of range; choose 1 to 32"),
        (
            "192.168.1.0/24",
            "192.168.1.0/24 names a network, not a host; choose an address within it",
        ),
        (
            "192.168.1.255/24",
            "192.168.1.255/24 names a network, not a host; choose an address within it",
        ),
        ("vip", "\"vip\" is no address; write one such as 192.168.1.10 or fd00::10"),
        ("127.0.0.1", "127.0.0.1 is a loopback address; choose one that a host may own"),
        ("0.0.0.0", "0.0.0.0 is an unspecified address; choose one that a host may own"),
        ("224.0.0.18", "224.0.0.18 is a multicast address; choose one that a host may own"),
        ("fd00::10/129", "prefix \"129\" is out of range; choose 1 to 128"),
        ("fd00::/64", "fd00::/64 names a network, not a host; choose an address within it"),
        ("::1", "::1 is a loopback address; choose one that a host may own"),
        ("::", ":: is an unspecified address; choose one that a host may own"),
        ("ff02::12", "ff02::12 is a multicast address; choose one that a host may own"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1 is IPv4 in IPv6's form; write 10.0.0.1"),
    ] {
        let expected = format!("f:7: instance.virtual_addresses: {what}");
        assert_eq!(complaint("192.168.1.10/32", given), expected);
    }
    for (given, what) in [
        (
            "fe80::2",
            "fe80::2 is a link-local address, which means nothing without its link; write a \
             global or unique local one, such as fd00::12",
        ),
        (
            "fe80::2%eth0",
            "\"fe80::2%eth0\" is no address; write one such as 192.168.1.10 or fd00::10, without a \
             zone",
        ),
    ] {
        let expected = format!("f:12: instance.peer.address: {what}");
        assert_eq!(complaint("192.168.1.12", given), expected);
    }
}
