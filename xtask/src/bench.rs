//! `bench`: what the data plane costs, measured by the lab.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    build, load, root,
    setup::{self, Scope},
    test,
};

/// The benchmarks that need neither a database nor other programs.
const ALONE: [&str; 3] = ["xdp", "probes", "throughput"];

/// Becomes `ogha-bench ..`; returns only if that is impossible.
pub fn command(arguments: &[OsString]) -> Result<ExitCode> {
    if !load::asks_for_help(arguments) {
        root::require("bench", "loads BPF programs")?;
    }
    let alone = arguments.iter().any(|word| ALONE.iter().any(|name| word == name));
    setup::ensure(if alone { Scope::Load } else { Scope::All })?;
    let built = build::everything()?;
    let (agent, bench) =
        (build::program(&built, "ogha-agent")?, build::program(&built, "ogha-bench")?);
    let error = Command::new(&bench).args(arguments).env(test::AGENT_VARIABLE, agent).exec();
    Err(error).with_context(|| format!("cannot run {}", bench.display()))
}
