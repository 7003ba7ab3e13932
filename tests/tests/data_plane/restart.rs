//! What is pinned outlives who made it.

use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use ogha_agent::{
    kernel::{self, Kernel},
    net::interface::Interface,
};
use ogha_common::maps::{
    EVENT_LISTENER_UP, Gate, Offer, PortCounters, Said, Watch,
    name::{self, PORT_COUNTERS},
};

use ogha_tests::lab::clock;

use crate::{
    peer::Play,
    stage::{INSTANCE, PORT, Stage, claimed, interface, open, run, start},
    traffic,
    wire::GENEROUS,
};

fn pins(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// What the kernel says is attached to the interfaces of the node.
fn attached(stage: &Stage) -> String {
    run(&stage.node, &["bpftool", "net", "show"])
}

/// The agent starts again and again while clients ask and connect: each question and each SYN is
/// answered, and the gate, the addresses and the counters stay.
#[test]
fn a_restart_drops_nothing_and_keeps_everything() {
    const RESTARTS: usize = 5;
    let mut stage = Stage::set("restart");
    let gate = claimed();
    stage.gate(gate);
    let links = stage.node.bpf_dir().join("links");
    let before = pins(&links);
    let asked = traffic::during(&mut stage, |stage| {
        for _ in 0..RESTARTS {
            let again = [interface(&stage.node)];
            let started =
                stage.node.namespace().enter(|| Kernel::start(&stage.node.bpf_dir(), &again));
            let old = std::mem::replace(&mut stage.kernel, started.unwrap());
            drop(old);
            assert_eq!(stage.kernel.gate(INSTANCE).unwrap(), gate);
        }
    });
    assert!(asked > RESTARTS as u64);
    assert_eq!(stage.kernel.arp_counters(INSTANCE).unwrap().answered, asked);
    let PortCounters { syn_in, rejected, .. } = stage.kernel.port_counters(INSTANCE).unwrap();
    assert_eq!((syn_in, rejected), (asked, asked));
    assert_eq!(pins(&links), before);
}

/// Nobody is there to read the events while the agent is dead: they wait for the next one.
#[test]
fn events_wait_for_the_next_agent() {
    let mut stage = Stage::set("restart-events");
    let netns = stage.node.namespace().inode().unwrap() as u32;
    stage.kernel.set_watch(0, Watch { port: PORT.into(), netns, ..Watch::default() }).unwrap();
    let _listener =
        stage.node.namespace().enter(|| std::net::TcpListener::bind(("0.0.0.0", PORT)).unwrap());
    stage.kernel = start(&stage.node);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut events = runtime.block_on(async { stage.kernel.take_events() }).unwrap();
    assert_eq!(events.take().map(|event| event.kind), Some(EVENT_LISTENER_UP));
    assert_eq!(events.take(), None);
}

/// After `unload` nothing is attached and nothing is pinned; a second one finds nothing.
#[test]
fn unload_leaves_nothing() {
    let mut stage = Stage::set("unload");
    stage.gate(open());
    assert!(attached(&stage).contains("eth0"), "{}", attached(&stage));
    let bpf_dir = stage.node.bpf_dir();
    assert_eq!(kernel::unload(&bpf_dir).unwrap(), name::ALL.len() + 4);
    assert!(!bpf_dir.exists());
    // The kernel detaches a little after the last name of a link is gone.
    let detached = || Ok((!attached(&stage).contains("eth0")).then_some(()));
    clock::wait_until("nothing to be attached", GENEROUS, Duration::from_millis(10), detached)
        .unwrap();
    assert_eq!(stage.ask_for_vip(), None);
    assert_eq!(kernel::unload(&bpf_dir).unwrap(), 0);
}

/// What an agent says of itself at its heartbeats.
fn offer(age: Duration, restarting: u8, exited: u32) -> Offer {
    let heartbeat_ns = clock::now().ns() - age.as_nanos() as u64;
    let said = Said { restarting, ..Said::default() };
    Offer { vrid: 59, heartbeat_ns, exited, said, ..Offer::default() }
}

/// An agent gives signs of life: `load` and `unload` refuse, say so, and change nothing, unless they
/// are forced. One that is silent, that has said that it ends, or that the kernel saw exit, is in
/// nobody's way.
#[test]
fn load_and_unload_refuse_under_an_agent() {
    /// More than any process has, so that none exits under it.
    const NOBODY: u32 = 5_000_000;
    let process = format!("process {NOBODY}");
    let mut stage = Stage::set("restart-agent");
    let gate = open();
    stage.gate(gate);
    stage.kernel.set_watch(INSTANCE, Watch { agent: NOBODY, ..Watch::default() }).unwrap();
    let (node, bpf_dir) = (Arc::clone(&stage.node), stage.node.bpf_dir());
    let call = |words: &[&str]| {
        let mut command = Command::new(ogha_tests::lab::agent::binary().unwrap());
        command.args(words).arg("--bpf-dir").arg(&bpf_dir);
        let output = node.output(command, None).unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let load = ["load", "--interface", "eth0"];
    let said = |stage: &mut Stage, offer| stage.kernel.set_self(INSTANCE, offer).unwrap();
    for command in [&load[..], &["unload"]] {
        said(&mut stage, offer(Duration::ZERO, 0, 0));
        let (code, error) = call(command);
        assert_eq!(code, Some(1), "{error}");
        for part in [process.as_str(), bpf_dir.to_str().unwrap(), "stop its service", "--force"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(stage.ask_for_vip().is_some());
    }
    said(&mut stage, offer(Duration::ZERO, 0, 0));
    assert_eq!(call(&[&load[..], &["--force"]].concat()), (Some(0), String::new()));
    for harmless in [
        offer(Duration::from_secs(6), 0, 0),
        offer(Duration::ZERO, 1, 0),
        offer(Duration::ZERO, 0, 1),
    ] {
        said(&mut stage, harmless);
        assert_eq!(call(&load), (Some(0), String::new()), "{harmless:?}");
        assert!(stage.ask_for_vip().is_some());
    }
    said(&mut stage, offer(Duration::ZERO, 0, 0));
    assert_eq!(call(&["unload", "--force"]), (Some(0), String::new()));
    assert!(!bpf_dir.exists());
}

/// Something that is no link is pinned where the link of XDP should be: the start fails at its last
/// step, says so, leaves nothing, and does another agent's data plane no harm.
#[test]
fn a_start_that_fails_leaves_nothing() {
    let mut stage = Stage::set("start-fails");
    stage.gate(open());
    let second = stage.node.bpf_dir().with_file_name("second");
    let interfaces = [interface(&stage.node)];
    let links = second.join("links");
    fs::create_dir_all(&links).unwrap();
    let wrong = links.join(format!("xdp_{}", interfaces[0].index));
    let create = ["bpftool", "map", "create", wrong.to_str().unwrap(), "type", "array"];
    let rest = ["key", "4", "value", "8", "entries", "1", "name", "wrong"];
    run(&stage.node, &[&create[..], &rest].concat());
    let error = stage.node.namespace().enter(|| Kernel::start(&second, &interfaces)).err();
    let error = format!("{:#}", error.expect("a map is no link"));
    assert!(error.contains("no XDP link is pinned"), "{error}");
    assert!(!second.exists());
    assert!(stage.ask_for_vip().is_some());
}

/// The pins are those of another version, which knew no stamp, and whose map is of another size: they
/// are replaced by a data plane that works.
#[test]
fn another_versions_maps_are_replaced() {
    let mut stage = Stage::set("restart-version");
    stage.gate(open());
    let gates = stage.node.bpf_dir().join(name::GATES);
    fs::remove_file(&gates).unwrap();
    fs::remove_file(stage.node.bpf_dir().join(name::STAMP)).unwrap();
    let path = gates.to_str().unwrap();
    let create = ["bpftool", "map", "create", path, "type", "array", "key", "4", "value", "8"];
    run(&stage.node, &[&create[..], &["entries", "16", "name", "GATES"]].concat());
    stage.kernel = start(&stage.node);
    assert_eq!(stage.kernel.gate(INSTANCE).unwrap(), Gate::default());
    assert_eq!(stage.ask_for_vip(), None);
    stage.gate(open());
    assert!(stage.ask_for_vip().is_some());
}

/// An interface is replaced by another of its name: the programs move, and nothing of the old one
/// stays pinned.
#[test]
fn links_of_interfaces_that_are_gone_are_removed() {
    let mut stage = Stage::set("restart-gone");
    let ip = |command: &str| {
        let words: Vec<&str> = command.split(' ').collect();
        run(&stage.node, &words);
    };
    ip("ip link add spare type veth peer name spare-peer");
    let spare = || {
        let index = stage.node.namespace().enter(|| nix::net::if_::if_nametoindex("spare"));
        Interface { name: "spare".to_owned(), index: index.unwrap(), mac: [2, 0, 0, 0, 0, 9] }
    };
    let bpf_dir = stage.node.bpf_dir();
    let restart = |interfaces: &[Interface]| {
        stage.node.namespace().enter(|| Kernel::start(&bpf_dir, interfaces)).unwrap()
    };
    let main = interface(&stage.node);
    let old = spare();
    stage.kernel = restart(&[main.clone(), old.clone()]);
    let of = |index| [format!("tcx_egress_{index}"), format!("xdp_{index}")];
    let links = bpf_dir.join("links");
    assert!(of(old.index).iter().all(|pin| pins(&links).contains(pin)));
    ip("ip link del spare");
    let gone = [main.clone(), old.clone()];
    let error = stage.node.namespace().enter(|| Kernel::start(&bpf_dir, &gone)).err().unwrap();
    assert!(error.to_string().contains("interface spare is gone"), "{error}");
    ip("ip link add spare type veth peer name spare-peer");
    let new = spare();
    assert_ne!(new.index, old.index);
    stage.kernel = restart(&[main.clone(), new.clone()]);
    assert!(of(new.index).iter().all(|pin| pins(&links).contains(pin)));
    assert!(of(old.index).iter().all(|pin| !pins(&links).contains(pin)));
    // One of the same index, on which the pinned links have lost their hold.
    ip("ip link del spare");
    let same = format!("ip link add spare index {} type veth peer name spare-peer", new.index);
    ip(&same);
    stage.kernel = restart(&[main.clone(), spare()]);
    assert!(attached(&stage).contains("spare"), "{}", attached(&stage));
    stage.kernel = restart(&[main]);
    assert!(!attached(&stage).contains("spare"), "{}", attached(&stage));
    assert_eq!(pins(&links).len(), 4);
}

/// A person looks at the pinned maps with bpftool and reads names, not bytes.
#[test]
fn bpftool_prints_field_names() {
    let mut stage = Play::set("bpftool").stage;
    stage.gate(open());
    let map = |name: &str| {
        let path = stage.node.bpf_dir().join(name);
        run(&stage.node, &["bpftool", "map", "dump", "pinned", path.to_str().unwrap()])
    };
    for (name, fields) in [
        (PORT_COUNTERS, &["syn_in", "synack_out", "rst_out_last_ns"][..]),
        (name::ARP_COUNTERS, &["answered", "conflicts"]),
        (name::GATES, &["\"state\": 1", "\"term\": 7", "lease_until_ns"]),
        (name::VIPS, &["address", "instance", "mac"]),
        (name::WATCHES, &["tgid", "netns"]),
        (name::ENDPOINTS, &["address", "\"port\": 26112"]),
        (name::SELF, &["vrid", "heartbeat_ns", "said", "\"priority\": 150"]),
        (name::PEERS, &["boot_id", "last_probe_ns", "heartbeat_ms", "queue_limit"]),
        (name::PROBE_COUNTERS, &["answered", "stranger"]),
        (name::PORTS, &["\"key\": 26000", "\"value\": 0"]),
    ] {
        let dump = map(name);
        for field in fields {
            assert!(dump.contains(field), "{name} does not show {field}: {dump:.300}");
        }
    }
}
