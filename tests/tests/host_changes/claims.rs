//! Whose data plane it is.

use std::time::Duration;

use nix::sys::signal::Signal;
use ogha_tests::lab::pair::VIP;

use crate::stage::{Stage, places};

/// `load`, `unload` and a second agent refuse to work under an agent, one that stands still too, and one
/// without a database.
#[test]
fn a_data_plane_has_one_agent() {
    let stage = Stage::serving("one");
    let agent = &stage.routers.nodes[0].agent;
    let bpf_dir = stage.host().bpf_dir().display().to_string();
    let load = ["load", "--interface", "eth0", "--bpf-dir", &bpf_dir];
    let unload = ["unload", "--bpf-dir", &bpf_dir];
    let pid = format!("process {}", agent.pid().unwrap());
    for stopped in [false, true] {
        if stopped {
            agent.signal(Signal::SIGSTOP).unwrap();
        }
        for command in [&load[..], &unload] {
            let output = agent.run(command).unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{command:?}: {error}");
            for part in [pid.as_str(), bpf_dir.as_str(), "stop its service first"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
    agent.signal(Signal::SIGCONT).unwrap();
    stage.wait_until_serving();
    // Another agent, whose files are elsewhere.
    let run_dir = stage.host().run_dir().display().to_string();
    let text = std::fs::read_to_string(agent.config_path()).unwrap();
    let second = stage.host().directory().join("second.toml");
    std::fs::write(&second, text.replace(&run_dir, &format!("{run_dir}2"))).unwrap();
    let output = agent.run(&["run", "--config", second.to_str().unwrap()]).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(&pid) && error.contains("another node.bpf_dir"), "{error}");
    stage.wait_until_serving();
}

/// `unload` after the agent takes the addresses off the interface that it held.
#[test]
fn unload_takes_the_addresses_off() {
    let stage = Stage::serving("off");
    let agent = &stage.routers.nodes[0].agent;
    agent.kill().unwrap();
    assert_eq!(places(stage.host(), VIP.into()), ["eth0 32"]);
    let bpf_dir = stage.host().bpf_dir();
    let output = agent.run(&["unload", "--bpf-dir", bpf_dir.to_str().unwrap()]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("removed 1 virtual address"), "{output:?}");
    assert!(places(stage.host(), VIP.into()).is_empty(), "{}", stage.words());
    assert!(!bpf_dir.exists());
    agent.start().unwrap();
    stage.wait_until_serving();
    std::thread::sleep(Duration::from_millis(10));
}
