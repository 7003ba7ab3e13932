//! Virtual addresses that somebody removes, adds or changes.

use std::{thread, time::Duration};

use ogha_tests::lab::pair::{FIRST, VIP};

use crate::stage::{A_WHILE, Stage, places, run, vip6};

/// The address is removed from the router that serves: it is put back at once and announced, and the gate
/// stays open.
#[test]
fn a_removed_address_is_put_back() {
    let stage = Stage::serving("removed");
    for _ in 0..3 {
        stage.run(&format!("ip address del {VIP}/32 dev eth0"));
        stage.wait_until_held();
        assert!(stage.is_open(), "{}", stage.words());
    }
    stage.assert_logged("put back");
    stage.assert_logged("the virtual addresses are back");
    stage.wait_until_answered(stage.host().mac());
}

/// All addresses are flushed: the virtual one is put back; this node's own is missed, and said to be.
#[test]
fn a_flush_is_survived() {
    let stage = Stage::serving("flush");
    stage.run("ip address flush dev eth0");
    stage.wait_until_held();
    stage.wait("the fault to be shown", || stage.faults().contains("own address"));
    stage.run(&format!("ip address add {FIRST}/24 dev eth0"));
    stage.wait("the fault to be over", || !stage.faults().contains("own address"));
    stage.wait_until_serving();
    stage.assert_logged("no longer: this node's own address");
}

/// The address is replaced by the same one with another prefix, and added to another interface too: in the
/// end it is where it belongs, once.
#[test]
fn another_prefix_or_another_interface_is_put_right() {
    let stage = Stage::serving("prefix");
    stage.run(&format!("ip address del {VIP}/32 dev eth0"));
    stage.run(&format!("ip address add {VIP}/24 dev eth0"));
    stage.wait_until_held();
    stage.run(&format!("ip address add {VIP}/25 dev eth0"));
    stage.wait_until_held();
    stage.run(&format!("ip address add {VIP}/32 dev lo"));
    stage.wait_until_held();
    assert!(stage.is_open(), "{}", stage.words());
    stage.assert_logged(&format!("{VIP} is on lo"));
}

/// Another program removes the address whenever it is there: the agent goes on putting it back, neither
/// gives up nor fills its log.
#[test]
fn another_program_that_removes_the_address_is_resisted() {
    let stage = Stage::serving("fight");
    for _ in 0..20 {
        stage.run(&format!("ip address flush to {VIP}/32"));
        thread::sleep(Duration::from_millis(50));
    }
    stage.wait_until_held();
    stage.assert_logged("again and again");
    let lines = stage.log().matches("put back").count();
    assert!(lines <= 8, "{lines} lines\n{}", stage.words());
}

/// A backup has the address, by hand, on its interface or on another: it is removed.
#[test]
fn an_address_on_a_backup_is_removed() {
    let stage = Stage::serving("backup");
    let backup = &stage.routers.nodes[1];
    backup.agent.start().unwrap();
    stage.routers.wait_until_backup(1).unwrap();
    for place in ["32 dev eth0", "24 dev eth0", "32 dev lo"] {
        run(&backup.host, &format!("ip address add {VIP}/{place}"));
        stage.wait("it to be removed", || places(&backup.host, VIP.into()).is_empty());
    }
    assert!(backup.agent.log().contains("does not serve: removed"), "{}", stage.words());
    assert!(stage.is_open());
}

/// An IPv6 address, which every `ip link set down` removes, and which a check for duplicates may make
/// useless: it is put back, usable at once.
#[test]
fn an_ipv6_address_is_put_back_usable() {
    let stage = Stage::with("ipv6", |stage| {
        stage.edit(&format!("\"{VIP}/32\""), &format!("\"{VIP}/32\", \"{}/128\"", vip6()));
    });
    let held = || places(stage.host(), vip6()) == ["eth0 128"];
    stage.wait("the address", held);
    stage.run(&format!("ip address del {}/128 dev eth0", vip6()));
    stage.wait("the address to be back", held);
    stage.run("ip link set eth0 down");
    thread::sleep(Duration::from_millis(200));
    stage.run("ip link set eth0 up");
    stage.wait("the address to be back", held);
    stage.wait_until_serving();
    // Another host has it, and somebody puts it on the interface as people do: it fails the check.
    run(&stage.routers.client, &format!("ip address add {}/128 dev eth0 nodad", vip6()));
    for interface in ["eth0", "all"] {
        stage.set(&format!("ipv6/conf/{interface}/accept_dad"), "1");
    }
    stage.run(&format!("ip address replace {}/128 dev eth0", vip6()));
    // The agent may have begun to put it right already: then it is not there for a moment.
    stage.run(&format!("ip -6 address flush to {}/128", vip6()));
    stage.wait("the address to be usable", || {
        let all = crate::stage::output(stage.host(), "ip -6 address show dev eth0");
        held() && !all.contains("dadfailed") && !all.contains("tentative")
    });
}

/// The address, or its prefix, is another one in the configuration when the agent is started again: what the
/// last agent has left goes, this node's other addresses stay.
#[test]
fn what_a_former_configuration_has_left_is_removed() {
    let stage = Stage::serving("former");
    let agent = &stage.routers.nodes[0].agent;
    stage.run("ip address add 203.0.113.7/32 dev eth0");
    agent.kill().unwrap();
    stage.edit(&format!("\"{VIP}/32\""), &format!("\"{VIP}/25\""));
    agent.start().unwrap();
    stage.wait("the other prefix", || places(stage.host(), VIP.into()) == ["eth0 25"]);
    stage.routers.wait_until_serving(0).unwrap();
    agent.kill().unwrap();
    assert_eq!(places(stage.host(), VIP.into()), ["eth0 25"]);
    stage.edit(&format!("\"{VIP}/25\""), "\"192.0.2.99/32\"");
    agent.start().unwrap();
    let other = "192.0.2.99".parse().unwrap();
    stage.wait("the other address", || places(stage.host(), other) == ["eth0 32"]);
    assert!(places(stage.host(), VIP.into()).is_empty(), "{}", stage.words());
    assert_eq!(places(stage.host(), "203.0.113.7".parse().unwrap()), ["eth0 32"]);
    assert_eq!(places(stage.host(), FIRST.into()), ["eth0 24"]);
}

/// Things that happen to interfaces and do not concern the agent: nothing is done or logged.
#[test]
fn what_does_not_matter_changes_nothing() {
    let stage = Stage::serving("calm");
    let before = stage.log().lines().count();
    stage.run("ip link set eth0 mtu 1400");
    stage.run("ip link set eth0 promisc on");
    stage.run("ip address add 203.0.113.7/32 dev eth0");
    stage.run("ip link add other type veth peer name another");
    stage.run("ip link set other up");
    stage.run("ip link del other");
    thread::sleep(A_WHILE);
    assert_eq!(stage.log().lines().count(), before, "{}", stage.words());
    assert!(stage.is_open());
}
