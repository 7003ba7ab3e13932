//! `build`: the agent with its BPF object, and the lab when somebody asks for it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{
    cargo::{self, Executable},
    setup::{self, Scope},
};

/// Builds the agent and says where it is.
pub fn command(release: bool) -> Result<ExitCode> {
    setup::ensure(Scope::Build)?;
    println!("{}", agent(release)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the agent alone.
pub fn agent(release: bool) -> Result<PathBuf> {
    let mut build = cargo::cargo();
    build.args(["build", "--package", "ogha-agent"]);
    if release {
        build.arg("--release");
    }
    program(&cargo::executables(&mut build)?, "ogha-agent")
}

/// Builds everything that runs on the host, in the profile of the tests.
pub fn everything() -> Result<Vec<Executable>> {
    cargo::executables(cargo::cargo().arg("build"))
}

/// Where cargo put the program of this name.
pub fn program(found: &[Executable], name: &str) -> Result<PathBuf> {
    found
        .iter()
        .find(|e| e.target == name && e.kind == "bin" && !e.harness)
        .map(|e| e.path.clone())
        .with_context(|| format!("cargo built no program `{name}`"))
}
