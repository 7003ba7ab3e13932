//! `state_dir` is read-only, full, removed or another one while the agent runs: it is named at once, and put
//! right when it comes back.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
};

use ogha_tests::lab::{
    Pair,
    agent::{Kind, Settings},
    pair::Node,
};

use crate::stage::{order, until, until_logged};

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Fills it to the last octet.
fn fill(directory: &Path) {
    let mut file = File::create(directory.join("filler")).unwrap();
    for size in [4096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

fn wait_for_problem(node: &Node, problem: &str) {
    let has = |status: &serde_json::Value| {
        let instance = &status["instances"][0];
        let named = |key: &str| instance[key].as_str().is_some_and(|text| text.contains(problem));
        named("disk") && named("waits_for")
    };
    until(&node.agent, problem, has);
    until_logged(&node.agent, problem);
    let (_, page) = order(&node.agent, &["status"]);
    assert!(page.contains("  DISK "), "{page}");
}

fn wait_until_right(node: &Node) {
    until(&node.agent, "the disk to be right", |status| status["instances"][0]["disk"].is_null());
}

/// All of it, at the standby of a pair, and then the primary's power fails.
#[test]
fn a_state_directory_that_fails_is_noticed_and_put_right() {
    let pair = Pair::without_agents("state-dir", &Settings::patient(Kind::Postgresql)).unwrap();
    let node = &pair.nodes[1];
    let directory = node.host.state_dir();
    let shown = directory.to_str().unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=64k", "ogha-test", shown]);
    pair.start_agents().unwrap();
    let record = directory.join("VI_1.record");

    // (The file system itself cannot be made read-only while the record is open.)
    run("mount", &["--bind", shown, shown]);
    run("mount", &["-o", "remount,bind,ro", shown]);
    wait_for_problem(node, "Read-only file system");
    run("umount", &["-l", shown]);
    wait_until_right(node);

    fill(&directory);
    wait_for_problem(node, "No space left on device");
    fs::remove_file(directory.join("filler")).unwrap();
    wait_until_right(node);

    let saved = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    until_logged(&node.agent, "removed or replaced");
    until(&node.agent, "the record to be back", |_| record.exists());
    assert_eq!(fs::read(&record).unwrap().len(), saved.len());

    // The mount is gone, and what it hid is another directory.
    run("umount", &["-l", shown]);
    until(&node.agent, "the record to be in the other directory", |_| {
        fs::read(&record).is_ok_and(|now| now.iter().any(|&octet| octet != 0))
    });
    wait_until_right(node);

    fs::remove_dir_all(&directory).unwrap();
    wait_for_problem(node, "is gone");
    let (code, said) = order(&node.agent, &["status", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    // A takeover must not wait for a person.
    pair.nodes[0].host.power_off().unwrap();
    pair.wait_until_serving(1).unwrap();
    wait_until_right(node);
    assert!(record.exists());
}
