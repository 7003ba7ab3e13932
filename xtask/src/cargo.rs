//! Running cargo, and learning from it where it put what it built.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// An executable that cargo built.
#[derive(Debug)]
pub struct Executable {
    /// The folder of its package: where cargo runs a test.
    pub package_dir: PathBuf,
    /// The name of the target.
    pub target: String,
    /// `bin`, `lib` or `test`.
    pub kind: String,
    /// A test harness, not the program itself.
    pub harness: bool,
    /// Where it is.
    pub path: PathBuf,
}

impl Executable {
    /// The package's folder, which names the package well enough for people.
    pub fn package(&self) -> String {
        self.package_dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The cargo that runs us, for use in the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Runs to the end, output as it comes. A failure is an error that names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", show(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", show(command));
    }
    Ok(())
}

/// Runs a cargo command that builds; returns the executables it built or found up to date.
pub fn executables(command: &mut Command) -> Result<Vec<Executable>> {
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", show(command)))?;
    let stdout = child.stdout.take().context("cargo's output is not piped")?;
    let mut found = Vec::new();
    for line in BufReader::new(stdout).lines() {
        found.extend(executable(&line.context("cannot read cargo's output")?));
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!("{} failed ({status})", show(command));
    }
    Ok(found)
}

/// One line of cargo's JSON; `None` if it speaks of something else.
fn executable(line: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(line).ok()?;
    let target = message.get("target")?;
    Some(Executable {
        path: message.get("executable")?.as_str()?.into(),
        package_dir: Path::new(message.get("manifest_path")?.as_str()?).parent()?.to_owned(),
        target: target.get("name")?.as_str()?.to_owned(),
        kind: target.get("kind")?.get(0)?.as_str()?.to_owned(),
        harness: message.get("profile")?.get("test")?.as_bool()?,
    })
}

/// A command as a person would type it.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_told_from_libraries_and_other_messages() {
        let line = |executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/o/ogha-agent/Cargo.toml",
                "target":{{"kind":["bin"],"name":"ogha-agent"}},"profile":{{"test":false}},
                "executable":{executable}}}"#
            )
        };
        let found = executable(&line("\"/o/target/debug/ogha-agent\"")).unwrap();
        assert_eq!(found.path, Path::new("/o/target/debug/ogha-agent"));
        assert_eq!((found.package().as_str(), found.kind.as_str()), ("ogha-agent", "bin"));
        assert!(!found.harness);
        assert!(executable(&line("null")).is_none());
        assert!(executable(r#"{"reason":"build-finished","success":true}"#).is_none());
        assert!(executable("   Compiling something").is_none());
    }
}
