//! Only one module of the agent touches the files and processes of the database's user: what the
//! drivers' sources must not contain, so that nobody goes past it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::cargo;

/// Ways to a file or a process that do not ask as whom.
const PAST_IT: [&str; 13] = [
    "std::fs",
    " fs::",
    "(fs::",
    "tokio::fs",
    "File::open",
    "OpenOptions",
    ".exists()",
    "path.is_file()",
    "log.is_dir()",
    "canonicalize(",
    "\"/proc",
    "Pid::from_raw",
    "signal::kill",
];

/// The group of a tool that the agent has just started, and not waited for, is its own; and which boot
/// it is, the kernel tells; a child makes itself killable.
const NOT_THE_GUESTS: [(&str, &str); 3] =
    [("process.rs", "Pid::from_raw"), ("process.rs", "\"/proc"), ("guard.rs", "\"/proc")];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn only_one_module_touches_what_is_the_guests() {
    let mut files = Vec::new();
    sources(&cargo::workspace().join("ogha-agent/src/database"), &mut files);
    assert!(files.len() > 30, "the drivers have so few files: {}", files.len());
    let mut found = Vec::new();
    for path in files.iter().filter(|path| !path.to_string_lossy().contains("_tests")) {
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            let past = PAST_IT.iter().filter(|way| code.contains(**way));
            for way in past.filter(|way| !NOT_THE_GUESTS.contains(&(&*name, **way))) {
                found.push(format!("{}:{}: {way}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "use ogha-agent/src/guest instead: {found:#?}");
}
