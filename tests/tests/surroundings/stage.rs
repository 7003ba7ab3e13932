//! What the scenarios have in common.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Output},
    time::Duration,
};

use anyhow::ensure;
use nix::unistd::dup2_stderr;
use ogha_tests::lab::{Agent, clock, pair::GENEROUS, router};
use serde_json::Value;

pub const OFTEN: Duration = Duration::from_millis(20);

/// Two routers without a database.
pub fn routers(name: &str) -> router::Routers {
    router::Routers::new(name, &router::Settings::default()).unwrap()
}

/// Starts an agent by a script in which it is `"$@"`.
pub fn start_in_shell(agent: &Agent, script: &str) {
    let run = agent.run_command().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    shell.env_remove("JOURNAL_STREAM");
    agent.start_by(shell).unwrap();
}

/// Gives a command that end as its standard error.
pub fn with_stderr(command: &mut Command, stderr: impl std::os::fd::AsFd + Send + Sync + 'static) {
    // SAFETY: one system call, which neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || Ok(dup2_stderr(&stderr)?)) };
}

/// What a command said, and its exit code.
pub fn said(output: &Output) -> (Option<i32>, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    (output.status.code(), format!("{out}{err}"))
}

/// Runs a command of the agent.
pub fn order(agent: &Agent, arguments: &[&str]) -> (Option<i32>, String) {
    said(&agent.command(arguments).unwrap())
}

/// Waits until the agent's status is so.
pub fn until(agent: &Agent, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    clock::wait_until(what, GENEROUS, OFTEN, || {
        let status = agent.status()?;
        ensure!(so(&status), "{status}");
        Ok(Some(status))
    })
    .unwrap()
}

/// Waits until the agent has logged that.
pub fn until_logged(agent: &Agent, text: &str) {
    clock::wait_until(text, GENEROUS, OFTEN, || {
        ensure!(agent.log().contains(text), "{}", agent.log());
        Ok(Some(()))
    })
    .unwrap();
}
