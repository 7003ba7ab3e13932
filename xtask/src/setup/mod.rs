//! `setup`: installs what is missing, and says what and why.
//!
//! [`Machine`] finds out what is there, [`plan::plan`] decides without touching anything,
//! [`apply`] does it. When nothing is missing this takes a few tenths of a second.

mod apply;
mod machine;
mod plan;
mod toolchain;

use std::{
    fs::File,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};

use self::{machine::Machine, plan::Plan};
pub use self::{
    plan::Scope,
    toolchain::{bpf_toolchain, has_component},
};

/// The command itself: the same as [`ensure`] for everything, and a word when all is well.
pub fn command(dry_run: bool) -> Result<ExitCode> {
    if !dry_run {
        ensure(Scope::All)?;
        println!("setup: all is there (the BPF programs are built by `{}`)", bpf_toolchain());
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan::plan(&Machine::look(), Scope::All);
    if plan.is_empty() {
        println!("setup: nothing is missing");
    }
    for step in &plan.steps {
        println!("setup: would get {step}");
    }
    for what in &plan.by_hand {
        println!("setup: to do by hand: {what}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs what the scope needs and the machine lacks. Silent when nothing is missing.
pub fn ensure(scope: Scope) -> Result<()> {
    let machine = Machine::look();
    let mut plan = plan::plan(&machine, scope);
    if !plan.steps.is_empty() {
        // Another clone may be at it: then there is nothing left to do afterwards.
        let _alone = lock();
        plan = plan::plan(&Machine::look(), scope);
        for step in &plan.steps {
            println!("setup: getting {step}");
            apply::apply(step)?;
        }
    }
    refuse(&plan)?;
    machine.compiler().map_or(Ok(()), toolchain::remember)
}

/// What only a person can do ends the command, after everything else has been done.
fn refuse(plan: &Plan) -> Result<()> {
    if plan.by_hand.is_empty() {
        return Ok(());
    }
    let bold = std::io::stderr().is_terminal();
    let mark = if bold { "\n\x1b[1m  * \x1b[0m" } else { "\n  * " };
    bail!("this machine still needs, by hand:{mark}{}", plan.by_hand.join(mark));
}

/// One setup at a time for each user; without the file there is no lock, and no harm:
/// apt and cargo have locks of their own.
fn lock() -> Option<File> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))?;
    let file = File::create(home.join("ogha-setup.lock")).ok()?;
    file.lock().ok()?;
    Some(file)
}
