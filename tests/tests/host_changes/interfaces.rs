//! Interfaces that go down, go away, come late, or become others.

use std::{thread, time::Duration};

use ogha_tests::lab::pair::{FIRST, VIP};

use crate::stage::{A_WHILE, Stage, fast, output, places};
use ogha_tests::lab::router::Routers;

/// Down for a moment: the role stays, and the address is announced again.
#[test]
fn a_link_that_was_down_for_a_moment_is_announced_again() {
    let stage = Stage::serving("flap");
    stage.run("ip link set eth0 down");
    stage.wait("the fault to be shown", || stage.faults().contains("interface eth0 is down"));
    stage.run("ip link set eth0 up");
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
    stage.wait("no fault", || !stage.faults().contains("eth0"));
    stage.assert_logged("no longer: interface eth0 is down");
}

/// Down for longer than the gate's lease: nobody hears adverts, so the gate is not renewed. Up again, it
/// serves again.
#[test]
fn a_link_that_stays_down_loses_the_role() {
    let stage = Stage::serving("down");
    stage.run("ip link set eth0 down");
    stage.wait("the gate to close", || !stage.is_open());
    stage.run("ip link set eth0 up");
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
}

/// The carrier goes and comes: the address is announced again.
#[test]
fn a_lost_carrier_is_said_and_survived() {
    let stage = Stage::serving("carrier");
    stage.host().link().cut().unwrap();
    stage.wait("the fault to be shown", || stage.faults().contains("no carrier"));
    stage.host().link().restore().unwrap();
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
    stage.wait("no fault", || !stage.faults().contains("carrier"));
}

/// The interface gets another MAC: the kernel answers with that one, and neighbours are told.
#[test]
fn another_mac_is_answered_with() {
    let stage = Stage::serving("mac");
    stage.run("ip link set eth0 address 02:00:00:00:00:77");
    stage.wait_until_answered([2, 0, 0, 0, 0, 0x77]);
    stage.wait_until_serving();
    stage.assert_logged("another Ethernet address");
}

/// The interface is deleted, and made anew with another index: nothing is served meanwhile, and then the
/// programs are on the new one, the address too, and the gate opens.
#[test]
fn an_interface_that_is_made_anew_is_used() {
    let stage = Stage::serving("anew");
    for _ in 0..2 {
        stage.run("ip link del eth0");
        stage.wait("the gate to close", || !stage.is_open());
        stage.wait("the fault to be shown", || stage.faults().contains("eth0 is gone"));
        stage.host().plug(&stage.routers.switch, "eth0", FIRST).unwrap();
        stage.wait_until_serving();
        stage.wait_until_answered(stage.host().mac());
        stage.wait("no fault", || stage.faults() == "null");
    }
    stage.assert_logged("was made anew");
}

/// Deleted, and made anew with the number that it had.
#[test]
fn an_interface_that_is_made_anew_with_its_old_number_is_used() {
    let stage = Stage::serving("number");
    let number = || {
        let line = output(stage.host(), "ip -o link show eth0");
        line.split(':').next().unwrap().to_owned()
    };
    let before = number();
    stage.run("ip link del eth0");
    let switch = stage.routers.lab.directory().join("switch/net").display().to_string();
    let at_switch = |line: &str| stage.run(&format!("nsenter --net={switch} {line}"));
    stage.run(&format!(
        "ip link add name eth0 index {before} address 02:00:c0:00:02:0b type veth peer name r1 \
         netns {switch}"
    ));
    at_switch("ip link set r1 master br0 up");
    stage.run("ip link set eth0 up");
    stage.run(&format!("ip address add {FIRST}/24 dev eth0"));
    assert_eq!(number(), before);
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
}

/// The interface is called differently for a while, as when a network service renames it.
#[test]
fn a_renamed_interface_is_gone_until_it_has_its_name_again() {
    let stage = Stage::serving("renamed");
    stage.run("ip link set eth0 down");
    stage.run("ip link set eth0 name lan0");
    stage.run("ip link set lan0 up");
    stage.wait("the gate to close", || !stage.is_open());
    stage.wait("the address to go", || places(stage.host(), VIP.into()).is_empty());
    stage.run("ip link set lan0 down");
    stage.run("ip link set lan0 name eth0");
    stage.run("ip link set eth0 up");
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
}

/// The interface is moved to another network namespace, and back.
#[test]
fn an_interface_in_another_namespace_is_gone() {
    let stage = Stage::serving("moved");
    let away = stage.routers.nodes[1].host.clone();
    let namespace = away.namespace().path().display().to_string();
    // The other host has an eth0 of its own.
    crate::stage::run(&away, "ip link del eth0");
    stage.run(&format!("ip link set eth0 netns {namespace}"));
    stage.wait("the gate to close", || !stage.is_open());
    let home = stage.host().namespace().path().display().to_string();
    crate::stage::run(&away, &format!("ip link set eth0 netns {home}"));
    stage.run(&format!("ip address add {FIRST}/24 dev eth0"));
    stage.run("ip link set eth0 up");
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
}

/// The agent is started before the interface is there, and before it has an address: it waits for both.
#[test]
fn an_interface_that_comes_late_is_waited_for() {
    let stage = Stage { routers: Routers::new("late", &fast()).unwrap() };
    let agent = &stage.routers.nodes[0].agent;
    stage.run("ip link del eth0");
    agent.start().unwrap();
    stage.wait("it to wait", || stage.log().contains("waiting for the network of this host"));
    thread::sleep(A_WHILE);
    assert!(agent.pid().is_some(), "{}", stage.words());
    stage.run("ip link add eth0 type veth peer name other");
    stage.wait("it to miss an address", || stage.log().contains("no IPv4 address of its own"));
    stage.run("ip link del eth0");
    stage.host().plug(&stage.routers.switch, "eth0", FIRST).unwrap();
    stage.wait_until_serving();
    let waits = stage.log().matches("waiting for the network").count();
    assert!(waits <= 4, "{}", stage.words());
}

/// This node's own address is replaced by another: the agent speaks from that one, and goes on.
#[test]
fn another_own_address_is_spoken_from() {
    let stage = Stage::serving("own");
    stage.run("ip address add 192.0.2.21/24 dev eth0");
    stage.set("ipv4/conf/eth0/promote_secondaries", "1");
    stage.run(&format!("ip address del {FIRST}/24 dev eth0"));
    stage.wait("it to be said", || stage.log().contains("own address is 192.0.2.21 now"));
    thread::sleep(Duration::from_secs(1));
    stage.wait_until_serving();
    stage.wait_until_answered(stage.host().mac());
}
