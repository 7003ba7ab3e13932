//! Whatever becomes of standard error: the agent goes on, and fails over.

use std::{
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    process::{Command, Stdio},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use ogha_tests::lab::{agent, clock, pair::GENEROUS, router::Routers};

use crate::stage::{OFTEN, order, routers, start_in_shell};

/// Both agents are started by that script. The first serves, its power fails, and the second serves.
fn fails_over(name: &str, script: impl Fn(&Routers) -> String) -> Routers {
    let pair = routers(name);
    let script = script(&pair);
    start_in_shell(&pair.nodes[0].agent, &script);
    pair.wait_until_serving(0).unwrap();
    start_in_shell(&pair.nodes[1].agent, &script);
    pair.wait_until_backup(1).unwrap();
    pair.nodes[0].host.power_off().unwrap();
    pair.wait_until_serving(1).unwrap();
    assert!(pair.nodes[1].agent.pid().is_some());
    pair
}

/// The disk of the log is full.
#[test]
fn a_log_on_a_full_disk_ends_nobody() {
    fails_over("log-full", |_| "exec \"$@\" 2>/dev/full".to_owned());
}

/// All three standard descriptors are closed.
#[test]
fn closed_standard_descriptors_end_nobody() {
    fails_over("log-closed", |_| "exec \"$@\" <&- >&- 2>&-".to_owned());
}

/// Whoever read the log has ended.
#[test]
fn a_log_without_a_reader_ends_nobody() {
    fails_over("log-epipe", |pair| {
        let fifo = pair.lab.directory().join("gone");
        let fifo = fifo.display();
        // Both ends are open, then the reader's is closed.
        format!("mkfifo -m 600 {fifo} 2>/dev/null; exec 3<>{fifo} 2>{fifo} 3<&-; exec \"$@\"")
    });
}

/// The size of files is limited: by default the signal that says so ends a process.
#[test]
fn a_log_beyond_the_size_limit_ends_nobody() {
    fails_over("log-fsize", |pair| {
        let log = pair.lab.directory().join("limited").display().to_string();
        format!("ulimit -f 0; exec \"$@\" --log debug 2>>{log}")
    });
}

/// Whoever reads the log is stuck. When the reader goes on, what was lost is counted.
#[test]
fn a_log_whose_reader_is_stuck_holds_nobody_up() {
    let name = |pair: &Routers| pair.lab.directory().join("stuck");
    let pair = fails_over("log-stuck", |pair| {
        mkfifo(&name(pair), Mode::S_IRWXU).unwrap();
        let fifo = name(pair).display().to_string();
        format!("exec \"$@\" --log trace 3<>{fifo} 2>{fifo}")
    });
    let agent = &pair.nodes[1].agent;
    // Many more lines than the pipe and the queue hold: a problem each.
    let keys: String = (0..3000).map(|n| format!("key{n} = 1\n")).collect();
    fs::write(agent.config_path(), format!("[node]\n{keys}")).unwrap();
    (0..8).for_each(|_| assert_eq!(order(agent, &["reload"]).0, Some(1)));
    assert_eq!(order(agent, &["status"]).0, Some(0));
    let fifo =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(name(&pair)).unwrap();
    let mut text = String::new();
    clock::wait_until("a count of lost lines", GENEROUS, OFTEN, || {
        let mut some = vec![0; 1 << 16];
        if let Ok(count @ 1..) = (&fifo).read(&mut some) {
            text.push_str(&String::from_utf8_lossy(&some[..count]));
        }
        Ok(text.contains(" lost; they came faster than they could be written").then_some(()))
    })
    .unwrap();
    assert!(pair.nodes[1].agent.pid().is_some());
}

/// A reader that has seen enough is no failure of a command, and its end is noticed.
#[test]
fn a_command_whose_reader_ends_does_not_panic() {
    let pair = routers("log-head");
    let agent = &pair.nodes[0].agent;
    agent.start().unwrap();
    pair.wait_until_serving(0).unwrap();
    let (binary, socket) = (agent::binary().unwrap(), agent.socket_path());
    for command in ["status", "history", "top --every 10ms"] {
        let line = format!(
            "\"$0\" {command} --socket \"$1\" | head -c 1; echo \"code ${{PIPESTATUS[0]}}\""
        );
        let output = Command::new("timeout")
            .args(["60", "bash", "-c", &line])
            .args([&binary, &socket])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(out.ends_with("code 0\n") && err.is_empty(), "{command}: {out} {err}");
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(&binary);
    let output = command.arg("status").arg("--socket").arg(&socket).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a hook says has newlines, escapes and an end far away: it is one line of bounded length, there and
/// in whatever shows it.
#[test]
fn what_others_say_stays_one_line() {
    let pair = routers("log-words");
    let node = &pair.nodes[0];
    let hook = node.host.directory().join("hook");
    let script =
        "#!/bin/sh\nprintf 'one\\ntwo\\033[2J\\r'\nhead -c 50000 /dev/zero | tr '\\0' x\nexit 3\n";
    fs::write(&hook, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&hook, mode).unwrap();
    let text = fs::read_to_string(node.agent.config_path()).unwrap();
    let hooks = format!("{text}\n[instance.hooks]\ncommand = \"{}\"\n", hook.display());
    fs::write(node.agent.config_path(), hooks).unwrap();
    node.agent.start().unwrap();
    pair.wait_until_serving(0).unwrap();
    crate::stage::until_logged(&node.agent, "xxxx");
    let log = node.agent.log();
    let line =
        log.lines().find(|line| line.contains("one\\ntwo")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("\\u{1b}[2J\\r") && line.len() < 20_000, "{}", line.len());
    assert!(!log.contains(['\x1b', '\r']));
}
