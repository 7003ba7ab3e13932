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
};

/// Becomes `ogha-bench ..`; returns only if that is impossible.
pub fn command(arguments: &[OsString]) -> Result<ExitCode> {
    if !load::asks_for_help(arguments) {
        root::require("bench", "loads BPF programs")?;
    }
    setup::ensure(Scope::Load)?;
    let bench = build::program(&build::everything()?, "ogha-bench")?;
    let error = Command::new(&bench).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", bench.display()))
}
