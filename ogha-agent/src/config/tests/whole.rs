//! What concerns the whole file, and the host.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn a_lease_outlasts_lost_probes_and_an_agent_outlasts_a_lease() {
    refused(&[
        (
            "port = 26112",
            "lease = \"20ms\"",
            "f:14: instance.liveness.lease: lease (20ms) is shorter than 3 probe intervals of \
             10ms; choose a lease of at least 30ms",
        ),
        (
            "port = 26112",
            "detect_multiplier = 11",
            "f:14: instance.liveness.detect_multiplier: lease (100ms) is shorter than 11 probe \
             intervals of 10ms; choose a lease of at least 110ms",
        ),
        (
            "port = 26112",
            "agent_timeout = \"50ms\"",
            "f:14: instance.liveness.agent_timeout: agent_timeout (50ms) is shorter than lease \
             (100ms); choose at least as long",
        ),
    ]);
    let least = "lease = \"30ms\"\nagent_timeout = \"30ms\"";
    assert_eq!(complaint("port = 26112", least), "");
}

#[test]
fn what_is_missing_is_named_with_an_example() {
    let missing = |line, key, header, example| {
        let (_, name) = key_parts(key);
        format!("f:{line}: {key}: is missing; add {name} = {example} to {header}")
    };
    for (line, part, key, header, example) in [
        (1, "name = \"db1\"", "node.name", "[node]", "\"node1\""),
        (3, "name = \"VI_1\"", "instance.name", "[[instance]]", "\"VI_1\""),
        (3, "interface = \"eth0\"", "instance.interface", "[[instance]]", "\"eth0\""),
        (3, "virtual_router_id = 59", "instance.virtual_router_id", "[[instance]]", "59"),
        (
            3,
            "virtual_addresses = [\"192.168.1.10/32\"]",
            "instance.virtual_addresses",
            "[[instance]]",
            "[\"192.168.1.10/32\"]",
        ),
        (10, "name = \"db2\"", "instance.peer.name", "[[instance.peer]]", "\"node2\""),
        (
            10,
            "address = \"192.168.1.12\"",
            "instance.peer.address",
            "[[instance.peer]]",
            "\"192.168.1.12\"",
        ),
        (
            15,
            "kind = \"opengauss\"",
            "instance.database.kind",
            "[instance.database]",
            "\"opengauss\"",
        ),
        (
            15,
            "data_dir = \"/gauss/data/db1\"",
            "instance.database.data_dir",
            "[instance.database]",
            "\"/gauss/data/db1\"",
        ),
        (15, "user = \"omm\"", "instance.database.user", "[instance.database]", "\"omm\""),
    ] {
        assert_eq!(complaint(part, ""), missing(line, key, header, example));
    }
    assert_eq!(
        parse("").unwrap_err().to_string(),
        "f:1: instance: is missing; add at least one table [[instance]]\n\
         f:1: node: is missing; add the table [node]"
    );
    assert_eq!(
        complaint("[[instance.peer]]\nname = \"db2\"\naddress = \"192.168.1.12\"\n", ""),
        "f:3: instance.peer: is missing; unicast adverts need somebody to hear them: add a table \
         [[instance.peer]], or set transport = \"multicast\""
    );
}

fn key_parts(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap()
}

#[test]
fn the_arbiter_of_a_database_is_chosen_not_assumed() {
    let missing = "is missing and has no default; add [instance.arbiter] with kind = \"etcd\" or \
                   \"gateway\", or kind = \"none\" if you accept that without an arbiter a cut \
                   network looks like a dead peer, so that both nodes may promote";
    refused(&[
        ("[instance.arbiter]\nkind = \"none\"\n", "", &format!("f:3: instance.arbiter: {missing}")),
        ("kind = \"none\"", "", &format!("f:21: instance.arbiter.kind: {missing}")),
    ]);
    let none = GOOD.replace("kind = \"opengauss\"", "kind = \"none\"");
    let none = none.replace("data_dir = \"/gauss/data/db1\"\nuser = \"omm\"\n", "");
    let config = parse(&none.replace("[instance.arbiter]\nkind = \"none\"\n", "")).unwrap();
    assert_eq!(config.instances[0].arbiter, Arbiter::None);
}

#[test]
fn what_is_not_supported_yet_is_said_to_be_so() {
    refused(&[
        (
            "name = \"db1\"",
            "name = \"db1\"\nmetrics_listen = \"127.0.0.1:9126\"",
            "f:3: node.metrics_listen: is not supported yet; remove it",
        ),
        (
            "kind = \"opengauss\"",
            "kind = \"script\"",
            "f:16: instance.database.kind: \"script\" is not supported yet; use \"opengauss\", \
             \"postgresql\" or \"none\"",
        ),
        (
            "max_lag = \"0B\"",
            "closed_gate = \"park\"",
            "f:20: instance.failover.closed_gate: \"park\" is not supported yet; use \"reject\"",
        ),
    ]);
}

fn second(name: &str, vrid: u8, vip: &str, port: u16) -> String {
    format!(
        "[[instance]]\nname = {name:?}\ninterface = \"eth0\"\nvirtual_router_id = {vrid}\n\
         virtual_addresses = [{vip:?}]\nvrrp.transport = \"multicast\"\n\
         database = {{ kind = \"none\", port = {port} }}\n"
    )
}

#[test]
fn what_must_be_unique_is_unique() {
    let with = |second: &str| {
        let text = format!("{GOOD}{second}");
        parse(&text).map_or_else(|errors| errors.to_string(), |_| String::new())
    };
    assert_eq!(with(&second("VI_2", 60, "192.168.1.11", 80)), "");
    assert_eq!(
        with(&second("VI_1", 59, "192.168.1.10", 26000)),
        "f:24: instance.name: the name \"VI_1\" is taken by line 4; choose another\n\
         f:26: instance.virtual_router_id: virtual router 59 on eth0 is taken by line 6; choose \
         another\n\
         f:27: instance.virtual_addresses: virtual address 192.168.1.10 is taken by line 7; choose \
         another\n\
         f:29: instance.database.port: port 26000 is taken by line 15; choose another"
    );
    assert_eq!(
        with(&second("VI_2", 60, "192.168.1.12", 80)),
        "f:12: instance.peer.address: 192.168.1.12 is the virtual address of line 27; write the \
         peer's own address"
    );
    refused(&[
        (
            "name = \"db2\"",
            "name = \"db1\"",
            "f:11: instance.peer.name: \"db1\" is this node (node.name); list only the other nodes",
        ),
        (
            "[instance.liveness]",
            "[[instance.peer]]\nname = \"db2\"\naddress = \"192.168.1.12\"\n[instance.liveness]",
            "f:14: instance.peer.name: the name \"db2\" is taken by line 11; choose another\n\
             f:15: instance.peer.address: address 192.168.1.12 is taken by line 12; choose another",
        ),
        (
            "[\"192.168.1.10/32\"]",
            "[\"192.168.1.10/32\", \"192.168.1.10/24\"]",
            "f:7: instance.virtual_addresses: virtual address 192.168.1.10 is taken by line 7; \
             choose another",
        ),
    ]);
}

#[test]
fn instances_of_an_interface_agree_on_its_xdp() {
    let two = |first: &str, other: &str| {
        let second = second("VI_2", 60, "192.168.1.20", 26001);
        let text = format!("{GOOD}{second}");
        let mut parts = text.split("interface = \"eth0\"");
        let (head, middle, tail) =
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        format!("{head}interface = \"eth0\"{first}{middle}interface = \"{other}{tail}")
    };
    let generic = "\nxdp = \"generic\"";
    parse(&two(generic, &format!("eth0\"{generic}"))).unwrap();
    parse(&two(generic, "eth1\"")).unwrap();
    let error = parse(&two(generic, "eth0\"")).unwrap_err().to_string();
    assert!(
        error.contains("instance.xdp: differs from that of another instance on eth0"),
        "{error}"
    );
    let error = complaint("interface = \"eth0\"", "interface = \"eth0\"\nxdp = \"fast\"");
    assert!(error.contains("instance.xdp"), "{error}");
}

#[test]
fn the_maps_of_the_kernel_set_a_limit() {
    let instances: String = (0..16)
        .map(|i| second(&format!("V{i}"), i + 1, &format!("10.0.0.{}", i + 1), 80 + u16::from(i)))
        .collect();
    let sixteen = format!("[node]\nname = \"db1\"\n{instances}");
    assert_eq!(parse(&sixteen).unwrap().instances.len(), 16);
    let seventeen = format!("{sixteen}{}", second("V16", 17, "10.0.0.17", 96));
    assert_eq!(
        parse(&seventeen).unwrap_err().to_string(),
        "f:116: instance.name: there are 17 instances, more than 16; remove some"
    );
    let addresses: Vec<_> = (1..=65).map(|i| format!("\"10.0.0.{i}\"")).collect();
    assert_eq!(
        complaint("\"192.168.1.10/32\"", &addresses.join(", ")),
        "f:3: instance: there are 65 virtual addresses in all, more than 64; remove some"
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_lines() {
    let text = GOOD.replace("_id = 59", "_id = 0").replace("name = \"db1\"", "nane = \"db1\"");
    assert_eq!(
        parse(&text.replace("\"0B\"", "0")).unwrap_err().to_string(),
        "f:1: node.name: is missing; add name = \"node1\" to [node]\n\
         f:2: node.nane: unknown key; did you mean \"name\"?\n\
         f:6: instance.virtual_router_id: 0 is out of range; choose 1 to 255\n\
         f:20: instance.failover.max_lag: must be a size in quotes, not an integer; write for \
         example \"16MB\""
    );
}

#[test]
fn a_text_that_is_no_toml_is_told_its_line() {
    for (part, replacement, start) in [
        ("name = \"db1\"", "name = db1", "f:2: syntax: "),
        ("name = \"db1\"", "name = \"db1\"\nname = \"db1\"", "f:3: syntax: duplicate key; "),
        ("[instance.vrrp]", "[instance.vrrp", "f:8: syntax: "),
        ("[instance.failover]", "[instance.vrrp]", "f:19: syntax: duplicate key; "),
    ] {
        let said = complaint(part, replacement);
        assert!(said.starts_with(start) && said.ends_with("; write it as TOML"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("ogha.toml");
    assert_eq!(
        Config::load(&missing).unwrap_err().to_string(),
        format!(
            "{}: cannot read the configuration: No such file or directory (os error 2); name it \
             with --config FILE",
            missing.display()
        )
    );
    std::fs::write(&missing, b"# one\n# \xff\n").unwrap();
    assert_eq!(
        Config::load(&missing).unwrap_err().to_string(),
        format!("{}:2: syntax: is not UTF-8; save the file as UTF-8 text", missing.display())
    );
}

#[test]
fn what_is_not_on_this_host_is_named() {
    let text = GOOD.replace("eth0", "ogha-none").replace("omm", "nobody-here");
    let text = text.replace("port = 26112", "key_file = \"/proc/no-key\"");
    let config = parse(&text.replace("/gauss/data/db1", "/proc/no-such")).unwrap();
    let said = config.check_host(Path::new("f")).unwrap_err().to_string();
    let lines: Vec<_> = said.lines().collect();
    let [interface, key, user, data_dir] = lines[..] else { panic!("{said}") };
    let start = "f: instance.interface: there is no network interface ogha-none; this host has ";
    assert!(interface.starts_with(start) && interface.ends_with(" (instance \"VI_1\")"), "{said}");
    let start = "f: instance.liveness.key_file: cannot read the cluster's key /proc/no-key; ";
    assert!(key.starts_with(start), "{said}");
    assert_eq!(
        user,
        "f: instance.database.user: there is no user \"nobody-here\" on this host; name the user \
         that owns the data directory (instance \"VI_1\")"
    );
    assert_eq!(
        data_dir,
        "f: instance.database.data_dir: missing data directory /proc/no-such; create the database \
         there or correct the path (instance \"VI_1\")"
    );
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, [7; 16]).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = GOOD.replace("port = 26112", &format!("key_file = {key:?}"));
    let text = text.replace("eth0", "lo").replace("omm", "nobody").replace("/gauss/data/db1", "/");
    let said = parse(&text).unwrap().check_host(Path::new("f")).unwrap_err().to_string();
    assert!(said.contains("lo has no Ethernet address") && said.lines().count() == 1, "{said}");
}

#[test]
fn the_files_of_the_arbiter_and_the_hook_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let with = |kind: &str| {
        let text = GOOD.replace("kind = \"none\"", kind);
        parse(&text).unwrap().check_host(Path::new("f")).unwrap_err().to_string()
    };
    let etcd = "kind = \"etcd\"\nendpoints = [\"https://10.0.0.1:2379\"]\n";
    let said = with(&format!("{etcd}ca_file = \"/proc/no-ca\""));
    let start = "f: instance.arbiter.ca_file: cannot read /proc/no-ca: ";
    assert!(said.lines().any(|line| line.starts_with(start)), "{said}");
    let hook = directory.path().join("hook");
    let with =
        |hook: &Path| with(&format!("kind = \"none\"\n[instance.hooks]\ncommand = {hook:?}"));
    let expected = format!("f: instance.hooks.command: missing program {}; ", hook.display());
    assert!(with(&hook).contains(&expected), "{}", with(&hook));
    std::fs::write(&hook, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(with(&hook).contains("is not executable; `chmod +x "), "{}", with(&hook));
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!with(&hook).contains("instance.hooks"), "{}", with(&hook));
}

#[test]
fn the_sections_hold_no_key_twice() {
    for section in SECTIONS {
        let mut keys = section.keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), section.keys.len(), "{}", section.path);
    }
}
