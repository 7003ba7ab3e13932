//! The same for a database's primary and its standby.

use std::{fs, net::IpAddr, time::Duration};

use ogha_tests::lab::{
    Pair,
    agent::Settings,
    clock,
    pair::{FIRST, GENEROUS, VIP},
    watcher,
};

use crate::stage::{places, run};

const OFTEN: Duration = Duration::from_millis(20);

fn wait(pair: &Pair, what: &str, is: impl Fn() -> bool) {
    clock::wait_until(what, GENEROUS, OFTEN, || Ok(is().then_some(())))
        .unwrap_or_else(|e| panic!("{e:#}\n{}", pair.agents_last_words()));
}

/// The address is removed from the primary and added to the standby; pins are removed and programs detached:
/// all is put right, without a failover.
#[test]
fn what_is_changed_by_hand_is_put_right_without_a_failover() {
    let settings = Settings { agent_timeout: Duration::from_secs(3), ..Settings::default() };
    let pair = Pair::start("hands", &settings).unwrap();
    let [primary, standby] = &pair.hosts();
    let vip: IpAddr = VIP.into();
    let at_home = || places(primary, vip).len() == 1 && places(standby, vip).is_empty();
    wait(&pair, "the address", at_home);
    run(primary, &format!("ip address flush to {VIP}/32"));
    run(standby, &format!("ip address add {VIP}/32 dev eth0"));
    wait(&pair, "the address to be back", at_home);
    let open = || watcher::passage(primary, 0).is_ok_and(|p| p == ogha_common::maps::Passage::Open);
    assert!(open(), "{}", pair.agents_last_words());
    fs::remove_dir_all(primary.bpf_dir()).unwrap();
    wait(&pair, "the pins to be back", || primary.bpf_dir().join("links/exit").exists());
    for pin in fs::read_dir(primary.bpf_dir().join("links")).unwrap().flatten() {
        let name = pin.file_name().to_string_lossy().into_owned();
        if name.starts_with("xdp") || name.starts_with("tcx") {
            run(primary, &format!("bpftool link detach pinned {}", pin.path().display()));
        }
    }
    let log = || fs::read_to_string(primary.log_path("agent")).unwrap();
    let attached = || log().matches("attached again").count() >= 2;
    wait(&pair, "the programs to be attached again", attached);
    pair.wait_until_in_sync(0).unwrap();
    assert!(open(), "{}", pair.agents_last_words());
    assert_eq!(pair.nodes[1].agent.history().unwrap()["failovers"].as_array().unwrap().len(), 0);
}

/// The primary's interface is deleted: the standby takes over. It is made anew: the old primary is there
/// again, and its agent speaks to its peer.
#[test]
fn an_interface_that_is_made_anew_is_used() {
    let pair = Pair::start("anew", &Settings::default()).unwrap();
    let [primary, _] = &pair.hosts();
    run(primary, "ip link del eth0");
    pair.wait_until_serving(1).unwrap();
    assert!(places(primary, VIP.into()).is_empty());
    let plugged = primary.plug(&pair.switch, "eth0", FIRST);
    plugged.unwrap();
    wait(&pair, "the old primary to be heard again", || {
        let instance = pair.nodes[1].agent.instance();
        instance.is_ok_and(|instance| instance["peers"][0]["host"] == "alive")
    });
    wait(&pair, "no fault to be left", || {
        pair.nodes[0].agent.instance().is_ok_and(|instance| instance["faults"].is_null())
    });
}
