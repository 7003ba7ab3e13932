//! `demo`: failovers of real databases, shown by the lab.

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

/// Becomes `ogha-demo ..`; returns only if that is impossible.
pub fn command(arguments: &[OsString]) -> Result<ExitCode> {
    if !load::asks_for_help(arguments) {
        root::require("demo", "makes hosts out of network namespaces")?;
    }
    setup::ensure(Scope::All)?;
    let built = build::everything()?;
    let (agent, demo) =
        (build::program(&built, "ogha-agent")?, build::program(&built, "ogha-demo")?);
    let error = Command::new(&demo).args(arguments).env(test::AGENT_VARIABLE, agent).exec();
    Err(error).with_context(|| format!("cannot run {}", demo.display()))
}
