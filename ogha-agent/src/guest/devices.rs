//! The disks that the database writes to, and how much they have written.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use super::{Owner, as_owner};

/// The block devices behind a data directory and its WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(Vec<PathBuf>);

impl Devices {
    /// Those of the server of that main process; `None` where there is none that could be watched, as
    /// with a network's file system. May wait for a disk.
    #[must_use]
    pub fn of(main: u32) -> Option<Self> {
        let process = fs::metadata(format!("/proc/{main}")).ok()?;
        let (uid, gid) = (process.uid().into(), process.gid().into());
        let owner = Owner { uid, gid, groups: vec![gid] };
        let mut numbers = as_owner(Some(&owner), || numbers(main)).ok()?;
        numbers.sort_unstable();
        numbers.dedup();
        let files: Option<Vec<_>> = numbers.into_iter().map(counters).collect();
        files.filter(|files| !files.is_empty()).map(Self)
    }

    /// How many writes and flushes they have completed so far.
    #[must_use]
    pub fn written(&self) -> Option<u64> {
        self.0.iter().map(|file| completed(&fs::read_to_string(file).ok()?)).sum()
    }
}

/// The devices' numbers.
fn numbers(main: u32) -> Vec<u64> {
    let cwd = PathBuf::from(format!("/proc/{main}/cwd"));
    let places = [cwd.join("."), cwd.join("pg_wal/."), cwd.join("pg_xlog/.")];
    places.iter().filter_map(|place| fs::metadata(place).ok()).map(|meta| meta.dev()).collect()
}

/// The file with a device's counters. Of a file system over others (`overlay`, btrfs) those of all disks.
fn counters(device: u64) -> Option<PathBuf> {
    let (major, minor) = (libc::major(device), libc::minor(device));
    if major != 0 {
        let file = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        return file.exists().then_some(file);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let number = format!("{major}:{minor}");
    let line = mounts.lines().find(|line| line.split_ascii_whitespace().nth(2) == Some(&number))?;
    let kind = line.split_once(" - ")?.1.split_ascii_whitespace().next()?;
    let local = matches!(kind, "overlay" | "btrfs" | "zfs" | "bcachefs");
    local.then(|| "/proc/diskstats".into())
}

/// Writes and flushes completed: of one device (`stat` in sysfs), or of all (`/proc/diskstats`).
fn completed(text: &str) -> Option<u64> {
    let of = |fields: &[u64]| Some(fields.get(4)? + fields.get(15).unwrap_or(&0));
    let line = |line: &str| {
        // In `diskstats` major, minor and name come first.
        let named =
            line.split_ascii_whitespace().nth(2).is_some_and(|name| name.parse::<u64>().is_err());
        let fields = line.split_ascii_whitespace().skip(if named { 3 } else { 0 });
        of(&fields.filter_map(|field| field.parse().ok()).collect::<Vec<_>>())
    };
    text.lines().map(line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_writes_are_counted() {
        let device = "   1 2 3 4 50 6 7 8 9 10 11 12 13 14 15 600 17\n";
        assert_eq!(completed(device), Some(650));
        assert_eq!(completed("1 2 3 4 50 6 7 8 9 10 11\n"), Some(50), "an old kernel");
        let all = format!(" 254 0 vda {device} 7 0 loop0 {device}");
        assert_eq!(completed(&all), Some(1300));
        assert_eq!(completed("nonsense"), None);
    }
}
