//! Who runs this.

use anyhow::{Result, bail};

/// Is this root? Network namespaces, BPF programs and packages need it.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Fails, saying what to type, unless this is root. `command` is what follows `cargo xtask`.
pub fn require(command: &str, why: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "`cargo xtask {command}` {why}, which needs root; try\n\
             \x20   sudo -E env \"PATH=$PATH\" cargo xtask {command}"
        );
    }
    Ok(())
}
