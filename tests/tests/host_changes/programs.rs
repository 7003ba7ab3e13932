//! BPF programs that are detached, and pins that are removed.

use std::{fs, path::PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use ogha_tests::lab::pair::VIP;

use crate::stage::{Stage, output, places};

fn pins(stage: &Stage) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in [stage.host().bpf_dir(), stage.host().bpf_dir().join("links")] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path()).filter(|path| !path.is_dir()));
    }
    found.sort();
    found
}

/// Each link is detached in turn: it is attached again, and the address goes on being answered for.
#[test]
fn detached_programs_are_attached_again() {
    let stage = Stage::serving("detached");
    let directory = stage.host().bpf_dir().join("links");
    for round in 0..2 {
        let mut detached = 0;
        for pin in fs::read_dir(&directory).unwrap().flatten() {
            let name = pin.file_name().to_string_lossy().into_owned();
            if name.starts_with("xdp") || name.starts_with("tcx") {
                stage.run(&format!("bpftool link detach pinned {}", pin.path().display()));
                detached += 1;
            }
        }
        assert!(detached >= 2, "{detached}");
        let said = (round + 1) * detached;
        stage.wait("all to be attached again", || {
            stage.log().matches("was detached: attached again").count() >= said
        });
        stage.wait_until_answered(stage.host().mac());
        stage.wait_until_serving();
    }
    let attached = output(stage.host(), "bpftool net show");
    assert!(attached.contains("eth0"), "{attached}");
}

/// XDP is switched off by `ip`, and the queueing disciplines are removed by `tc`: in vain, or it is put
/// right.
#[test]
fn xdp_off_and_tc_del_do_not_open_the_fence() {
    let stage = Stage::serving("off");
    for line in ["ip link set dev eth0 xdp off", "ip link set dev eth0 xdpgeneric off"] {
        let _ = output(stage.host(), line);
    }
    for line in ["tc qdisc del dev eth0 clsact", "tc qdisc del dev eth0 root"] {
        let _ = output(stage.host(), line);
    }
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
}

/// All pins are removed, with their directory, or one: the programs stay attached, for the agent holds them, and
/// all is pinned again.
#[test]
fn removed_pins_are_made_again() {
    let stage = Stage::serving("pins");
    let before = pins(&stage);
    fs::remove_dir_all(stage.host().bpf_dir()).unwrap();
    stage.wait("all pins", || pins(&stage) == before);
    assert!(stage.is_open(), "{}", stage.words());
    stage.assert_logged("pinned again");
    fs::remove_file(&before[0]).unwrap();
    fs::remove_dir_all(stage.host().bpf_dir().join("links")).unwrap();
    stage.wait("all pins", || pins(&stage) == before);
    stage.wait_until_answered(stage.host().mac());
    // What is pinned is what is in force: an agent that is started again finds it, and goes on.
    let agent = &stage.routers.nodes[0].agent;
    agent.kill().unwrap();
    agent.start().unwrap();
    stage.wait_until_serving();
}

/// The BPF file system is unmounted: what is attached would end with the agent, so that the router gives its
/// role up, and says why. Mounted again, all is pinned, and it serves.
#[test]
fn without_a_bpf_file_system_nothing_is_served() {
    let stage = Stage::serving("unmounted");
    let mount = stage.host().bpf_dir().parent().unwrap().to_owned();
    umount2(&mount, MntFlags::MNT_DETACH).unwrap();
    stage.wait("the gate to close", || {
        let instance = stage.routers.nodes[0].agent.instance().unwrap();
        instance["gate"] == "closed"
    });
    stage.wait("the fault to be shown", || stage.faults().contains("not safely in place"));
    stage.wait("the address to go", || places(stage.host(), VIP.into()).is_empty());
    let none = None::<&str>;
    nix::mount::mount(Some("bpf"), &mount, Some("bpf"), MsFlags::empty(), none).unwrap();
    stage.wait_until_serving();
    stage.wait("no fault", || stage.faults() == "null");
}

/// `unload --force` under an agent: the data plane is back, and so is the address.
#[test]
fn a_forced_unload_is_undone() {
    let stage = Stage::serving("unload");
    let before = pins(&stage);
    let bpf_dir = stage.host().bpf_dir();
    let agent = &stage.routers.nodes[0].agent;
    let output = agent.run(&["unload", "--force", "--bpf-dir", bpf_dir.to_str().unwrap()]).unwrap();
    assert!(output.status.success(), "{output:?}");
    stage.wait("all pins", || pins(&stage) == before);
    stage.wait_until_serving();
    assert!(stage.faults() == "null", "{}", stage.faults());
}
