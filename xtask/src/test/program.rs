//! A program full of tests: which it has, and how one of them is run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{AGENT_VARIABLE, queue::Class};
use crate::cargo::Executable;

/// The folder of the lab and its scenarios.
const LAB: &str = "tests";
/// What of it needs neither the lab nor root, but all processors: clusters in virtual time.
const HEAVY: [&str; 2] = ["simulation", "model"];
/// What of it loads the machine, to see how agents bear it.
const ALONE: [&str; 1] = ["starvation"];

/// A test program that cargo built.
#[derive(Debug)]
pub struct Program {
    /// For people.
    pub name: String,
    /// What each of its tests asks of the machine.
    pub class: Class,
    path: PathBuf,
    folder: PathBuf,
    agent: PathBuf,
}

/// The names of a program's tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Those that always run.
    pub usual: Vec<String>,
    /// Those that are marked as slow.
    pub slow: Vec<String>,
}

impl Program {
    /// What cargo built, to be run with this agent.
    pub fn new(executable: &Executable, agent: &Path) -> Self {
        let target = executable.target.as_str();
        Self {
            name: target.to_owned(),
            class: class(&executable.package(), target),
            path: executable.path.clone(),
            folder: executable.package_dir.clone(),
            agent: agent.to_owned(),
        }
    }

    /// Asks the program for its tests.
    pub fn names(&self, filter: Option<&str>) -> Result<Names> {
        let slow = self.list(&["--ignored"], filter)?;
        let mut usual = self.list(&[], filter)?;
        usual.retain(|name| !slow.contains(name));
        Ok(Names { usual, slow })
    }

    /// Runs one test, its output as it comes: also one that hangs has said something.
    pub fn command(&self, test: &str) -> Command {
        let mut command = if self.class == Class::Heavy {
            let mut nice = Command::new("nice");
            nice.args(["-n", "10"]).arg(&self.path);
            nice
        } else {
            Command::new(&self.path)
        };
        command.args(["--exact", test, "--include-ignored", "--nocapture"]);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.env(AGENT_VARIABLE, &self.agent);
        command
    }

    fn list(&self, arguments: &[&str], filter: Option<&str>) -> Result<Vec<String>> {
        let mut list = Command::new(&self.path);
        list.args(["--list", "--format=terse"]).args(arguments).args(filter);
        list.current_dir(&self.folder).stderr(Stdio::inherit());
        let output =
            list.output().with_context(|| format!("cannot list tests of {}", self.name))?;
        if !output.status.success() {
            bail!("{} cannot list its tests ({})", self.name, output.status);
        }
        Ok(names(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// What the tests of a target ask of the machine.
fn class(package: &str, target: &str) -> Class {
    match package {
        LAB if HEAVY.contains(&target) => Class::Heavy,
        LAB if ALONE.contains(&target) => Class::Alone,
        LAB => Class::Scenario,
        _ => Class::Unit,
    }
}

/// Reads lines such as `net::a_cut_is_seen: test`.
fn names(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_list_is_read() {
        assert_eq!(names("a::b: test\nc: test\nd: benchmark\n\n"), ["a::b", "c"]);
    }

    #[test]
    fn targets_have_classes() {
        assert_eq!(class("ogha-common", "ogha_common"), Class::Unit);
        assert_eq!(class("tests", "failover"), Class::Scenario);
        assert_eq!(class("tests", "simulation"), Class::Heavy);
        assert_eq!(class("tests", "starvation"), Class::Alone);
    }

    #[test]
    fn slow_tests_are_told_from_usual_ones() {
        let path = std::env::temp_dir().join(format!("xtask-names-{}", std::process::id()));
        fs::write(
            &path,
            "#!/bin/sh\ncase \"$*\" in *--ignored*) echo 'slow: test';; \
             *) printf 'a: test\\nslow: test\\n';; esac\n",
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let program = Program {
            name: "shell".into(),
            class: Class::Unit,
            path: path.clone(),
            folder: "/".into(),
            agent: "agent".into(),
        };
        let names = program.names(None).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(names, Names { usual: vec!["a".into()], slow: vec!["slow".into()] });
    }

    /// A test that is ignored for another reason than its slowness would never run.
    #[test]
    fn only_slow_tests_are_ignored() {
        let mut folders = vec![crate::cargo::workspace()];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() && name != "target" && !name.starts_with('.') {
                    folders.push(path);
                } else if name.ends_with(".rs") {
                    read += 1;
                    let text = fs::read_to_string(&path).unwrap();
                    let ignored = text.lines().filter(|l| l.trim().starts_with("#[ignore"));
                    for line in ignored {
                        let slow = line.trim().starts_with("#[ignore = \"slow: ");
                        assert!(slow, "{}: {line}", path.display());
                    }
                }
            }
        }
        assert!(read > 100, "{read} files only");
    }
}
