//! A disk that hangs: writes to it fail not, and do not return.

use std::thread;

use ogha_common::maps::Passage;
use ogha_tests::lab::{Pair, frozen::Freezer, watcher};

use crate::stage::{OFTEN, seconds, settings, throughout, until, waits_for};

/// The state directory of the second node hangs, and the primary's database is killed. The second may not
/// take over before its record is on the disk: its status says within seconds that it waits for the disk,
/// and its gate stays closed. The disk goes on: it serves.
#[test]
fn a_takeover_says_that_the_disk_hangs() {
    let pair = Pair::without_agents("disk-hangs", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    let state = second.host.state_dir();
    let disk = Freezer::mount(&state, &second.host.directory().join("disk")).unwrap();
    pair.start_agents().unwrap();
    disk.freeze().unwrap();
    first.database.kill().unwrap();
    let words = ["disk", "state_dir", "write", "record"];
    let instance = until(second, "the second node to say that its disk hangs", |i| {
        words.iter().any(|word| waits_for(i).contains(word))
    });
    println!("{}", waits_for(&instance));
    throughout(seconds(3), || {
        assert_ne!(watcher::passage(&second.host, 0).unwrap(), Passage::Open);
    });
    disk.thaw().unwrap();
    pair.wait_until_serving(1).unwrap();
    thread::sleep(OFTEN);
    drop(pair);
    drop(disk);
}

/// The state directory of the node that serves hangs while its standby goes away. The record without the
/// standby can't be written, so commits may wait, and no gate stays open beyond its lease for a record
/// that is nowhere. The status answers all the time, and the disk goes on: clients can write.
#[test]
fn a_serving_node_answers_while_its_disk_hangs() {
    let pair = Pair::without_agents("disk-hangs-serving", &settings()).unwrap();
    let [first, second] = &pair.nodes;
    let state = first.host.state_dir();
    let disk = Freezer::mount(&state, &first.host.directory().join("disk")).unwrap();
    pair.start_agents().unwrap();
    disk.freeze().unwrap();
    second.database.stop().unwrap();
    throughout(seconds(8), || drop(first.agent.instance().unwrap()));
    let main = first.database.main_pid().unwrap();
    disk.thaw().unwrap();
    pair.wait_until_serving(0).unwrap();
    pair.writer().wait_for(5, seconds(30)).unwrap();
    assert_eq!(first.database.main_pid().unwrap(), main, "{}", first.agent.log());
    drop(pair);
    drop(disk);
}
