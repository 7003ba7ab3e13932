//! `load` and `unload`: the data plane without the agent, for looking at it with bpftool.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    build, root,
    setup::{self, Scope},
};

/// Becomes `ogha-agent load ..` or `ogha-agent unload ..`; returns only if that is impossible.
pub fn command(subcommand: &str, arguments: &[OsString]) -> Result<ExitCode> {
    if !asks_for_help(arguments) {
        root::require(subcommand, "changes what the kernel runs")?;
    }
    setup::ensure(Scope::Load)?;
    let agent = build::agent(false)?;
    let error = Command::new(&agent).arg(subcommand).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", agent.display()))
}

/// Help is for everybody.
pub fn asks_for_help(arguments: &[OsString]) -> bool {
    arguments.iter().any(|a| a == "--help" || a == "-h")
}
