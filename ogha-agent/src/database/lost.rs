//! What a node that rejoins had alone, and where it is kept.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use ogha_common::units::Lsn;
use serde::{Deserialize, Serialize};

use super::files;

/// Writes that only this node has: the part of its log behind the point where the other's history
/// leaves it. Some may have been acknowledged, if the node was not synchronous.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The timeline on which the histories part. The rest may be on later ones of this node's own.
    pub timeline: u32,
    /// Where the histories part, as the server writes positions.
    pub from: String,
    /// The end of this node's log; it may be a few records further where the log is damaged.
    pub to: String,
    /// Bytes of log between the two.
    pub bytes: u64,
    /// Where that part of the log, or the whole former data directory, is kept.
    pub kept: PathBuf,
}

impl Lost {
    /// The part of the log from where the histories part.
    #[must_use]
    pub fn new(timeline: u32, from: Lsn, to: Lsn, kept: PathBuf) -> Self {
        let bytes = from.behind(to);
        Self { timeline, from: from.to_string(), to: to.to_string(), bytes, kept }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "timeline {} from {} to {} ({} bytes of log), kept in {}",
            self.timeline,
            self.from,
            self.to,
            self.bytes,
            self.kept.display()
        )
    }
}

/// A name beside the data directory: `<data_dir>.ogha-<what>`.
pub(super) fn beside(data_dir: &Path, what: &str) -> PathBuf {
    let mut name = data_dir.as_os_str().to_owned();
    name.push(".ogha-");
    name.push(what);
    name.into()
}

/// The same with the time of day, for what is kept: `<data_dir>.ogha-lost-20260131T235959Z`.
pub(super) fn beside_now(data_dir: &Path, what: &str) -> PathBuf {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    beside(data_dir, &format!("{what}-{}", time.replace(['-', ':'], "")))
}

/// Keeps the segments of the log that hold what is lost, and a text that says what they are.
/// May be repeated.
pub(super) fn keep(lost: &Lost, log_dir: &Path, segment: u64) -> anyhow::Result<()> {
    files::make_dir(&lost.kept)?;
    for name in segments(log_dir, lost, segment)? {
        files::copy(&log_dir.join(&name), &lost.kept.join(&name))?;
    }
    let text = format!(
        "ogha keeps here what {} had alone when it was made a standby again:\n\
         timeline {}, from {} to {}, {} bytes of log.\n\n\
         `pg_waldump -p . -t {} -s {}` shows it. Nothing here is needed by the database; ogha never\n\
         deletes it.\n",
        log_dir.display(),
        lost.timeline,
        lost.from,
        lost.to,
        lost.bytes,
        lost.timeline,
        lost.from,
    );
    files::replace(&lost.kept.join("README"), text.as_bytes())
}

/// The segment files from the one where the histories part, and the timelines' histories.
fn segments(log_dir: &Path, lost: &Lost, segment: u64) -> anyhow::Result<Vec<String>> {
    let first =
        Lsn::parse(&lost.from).context("the start of the discarded WAL is not a valid position")?;
    let last =
        Lsn::parse(&lost.to).context("the end of the discarded WAL is not a valid position")?;
    let wanted = first.get() / segment..=last.get() / segment;
    let names = files::list(log_dir)?.into_iter().map(|entry| entry.name);
    let holds = |name: &String| {
        name.ends_with(".history")
            || position(name, segment).is_some_and(|(timeline, number)| {
                timeline >= lost.timeline && wanted.contains(&number)
            })
    };
    Ok(names.filter(holds).collect())
}

/// The timeline and the number of a segment file: `000000010000000000000004`, each eight
/// hexadecimal digits: timeline, high part of the position, segment within that.
fn position(name: &str, segment: u64) -> Option<(u32, u64)> {
    if name.len() != 24 {
        return None;
    }
    let part = |at: usize| u32::from_str_radix(name.get(at..at + 8)?, 16).ok();
    let per_high = (1 << 32) / segment;
    Some((part(0)?, u64::from(part(8)?) * per_high + u64::from(part(16)?)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SEGMENT: u64 = 16 << 20;

    #[test]
    fn the_segments_of_the_lost_part_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("pg_wal");
        fs::create_dir(&log).unwrap();
        let names = [
            "000000020000000000000002",
            "000000020000000000000003",
            "000000020000000000000004",
            "000000020000000000000005",
            "000000010000000000000004",
            "000000030000000000000004",
            "00000002.history",
            "archive_status",
        ];
        for name in names {
            fs::write(log.join(name), name).unwrap();
        }
        let lsn = |text| Lsn::parse(text).unwrap();
        let kept = dir.path().join("data.ogha-lost");
        let lost = Lost::new(2, lsn("0/3000148"), lsn("0/4000200"), kept.clone());
        keep(&lost, &log, SEGMENT).unwrap();
        keep(&lost, &log, SEGMENT).unwrap();
        let mut seen: Vec<_> = fs::read_dir(&kept)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "00000002.history",
                "000000020000000000000003",
                "000000020000000000000004",
                "000000030000000000000004",
                "README"
            ]
        );
        let text = fs::read_to_string(kept.join("README")).unwrap();
        assert!(text.contains("timeline 2, from 0/3000148 to 0/4000200, 16777400 bytes"), "{text}");
    }

    #[test]
    fn segments_are_numbered_across_the_high_part() {
        assert_eq!(position("0000000A00000001000000FF", SEGMENT), Some((10, 511)));
        assert_eq!(position("00000002.history", SEGMENT), None);
    }

    #[test]
    fn names_beside_the_data_directory() {
        let name = beside_now(Path::new("/data/db1"), "lost").display().to_string();
        assert!(name.starts_with("/data/db1.ogha-lost-20") && name.ends_with('Z'), "{name}");
    }
}
