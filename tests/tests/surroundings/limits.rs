//! Descriptors, memory and signals.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;

use crate::stage::{order, routers, start_in_shell, until_logged};

/// The value of a line such as `VmLck:   12 kB`.
fn kib(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// An agent that is started with 64 descriptors has as many as it needs, its memory is locked and small,
/// and its tools get the limit that it was started with.
#[test]
fn descriptors_are_raised_and_memory_is_locked() {
    let pair = routers("limits");
    let node = &pair.nodes[0];
    let hook = node.host.directory().join("hook");
    fs::write(&hook, "#!/bin/sh\necho \"files $(ulimit -Sn)\"\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&hook, mode).unwrap();
    let text = fs::read_to_string(node.agent.config_path()).unwrap();
    let hooks = format!("{text}\n[instance.hooks]\ncommand = \"{}\"\n", hook.display());
    fs::write(node.agent.config_path(), hooks).unwrap();
    start_in_shell(&node.agent, "ulimit -Sn 64; exec \"$@\"");
    pair.wait_until_serving(0).unwrap();
    let pid = node.agent.pid().unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: u64 = files.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(soft > 256, "{files}");
    until_logged(&node.agent, "files 64");
    let (locked, resident) = (kib(pid, "VmLck"), kib(pid, "VmRSS"));
    println!("locked {locked} KiB, resident {resident} KiB");
    assert!(locked > 0, "{}", node.agent.log());
    assert!(resident < 64 * 1024, "{resident} KiB");
}

/// An agent that may not have more than 64 descriptors says what it needs, and serves.
#[test]
fn too_few_descriptors_are_named() {
    let pair = routers("few");
    let node = &pair.nodes[0];
    start_in_shell(&node.agent, "ulimit -n 64; exec \"$@\"");
    pair.wait_until_serving(0).unwrap();
    let pid = node.agent.pid().unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    // Whoever has CAP_SYS_RESOURCE raises it all the same.
    if limits.lines().any(|line| line.starts_with("Max open files            64 ")) {
        until_logged(&node.agent, "this process may have 64 open files and may not raise it");
    }
}

/// Signals that a person, a terminal or a limit may send do not end an agent.
#[test]
fn a_stray_signal_ends_nobody() {
    let pair = routers("signals");
    let agent = &pair.nodes[0].agent;
    agent.start().unwrap();
    pair.wait_until_serving(0).unwrap();
    for signal in [
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGPIPE,
        Signal::SIGALRM,
        Signal::SIGXFSZ,
        Signal::SIGXCPU,
        Signal::SIGVTALRM,
        Signal::SIGTTOU,
        Signal::SIGHUP,
    ] {
        agent.signal(signal).unwrap();
    }
    until_logged(agent, "SIGUSR2 has no meaning here");
    until_logged(agent, "configuration reloaded");
    thread::sleep(Duration::from_millis(200));
    assert!(agent.pid().is_some(), "{}", agent.log());
    assert_eq!(order(agent, &["status"]).0, Some(0));
    // Twice: the second does no harm.
    agent.signal(Signal::SIGTERM).unwrap();
    agent.stop().unwrap();
}
