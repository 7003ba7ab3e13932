//! Where file systems are mounted in and below the database's directories.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The mount points at and below a directory, as this host's kernel lists them.
///
/// # Errors
/// When it does not.
pub fn below(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    const MOUNTS: &str = "/proc/thread-self/mountinfo";
    let text = fs::read_to_string(MOUNTS).with_context(|| format!("cannot read {MOUNTS}"))?;
    let place = |line: &str| line.split(' ').nth(4).map(unescaped);
    Ok(text.lines().filter_map(place).filter(|mount| mount.starts_with(dir)).collect())
}

/// A path in which the kernel writes blanks and backslashes as `\040`: three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(|_| first == b'\\') {
            Some(code) => {
                octets.push(code);
                rest = &behind[3..];
            }
            None => {
                octets.push(first);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_whatever_they_are_called() {
        assert_eq!(unescaped(r"/a\040b\134c\9"), Path::new(r"/a b\c\9"));
        let mounts = below(Path::new("/proc")).unwrap();
        assert!(mounts.contains(&PathBuf::from("/proc")), "{mounts:?}");
        assert_eq!(below(Path::new("/proc/self/fd")).unwrap(), [""; 0].map(PathBuf::from));
    }
}
