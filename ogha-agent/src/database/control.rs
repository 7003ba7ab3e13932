//! `pg_controldata`: what a stopped server knows of itself.

use anyhow::Context as _;
use ogha_common::units::Lsn;

/// The fields of the control file that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The cluster's identity, made by `initdb`. Only copies of one cluster can follow each other.
    pub system: u64,
    /// `shut down`, `shut down in recovery`, `in production`, ...
    pub state: String,
    /// The begin of the last checkpoint's record. The last of the log if the state is `shut down`.
    pub checkpoint: Lsn,
    /// The timeline of the last checkpoint.
    pub timeline: u32,
    /// The timeline up to which a standby must replay; 0 if it need not.
    pub recovery_timeline: u32,
    /// Bytes of a segment of the log.
    pub segment: u64,
    /// Whether `pg_rewind` can work: page checksums or `wal_log_hints`.
    pub rewindable: bool,
}

impl Control {
    /// Reads the tool's output in English (`LC_ALL=C`).
    ///
    /// # Errors
    /// When a field is missing.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let find = |name: &str| {
            let values = text.lines().filter_map(|line| line.split_once(':'));
            let value = values.into_iter().find(|(key, _)| key.trim() == name);
            value.map(|(_, value)| value.trim())
        };
        let field = |name: &str| {
            find(name).with_context(|| format!("pg_controldata shows no {name:?}: {text:?}"))
        };
        let number = |name: &str| -> anyhow::Result<u64> {
            field(name)?
                .parse()
                .with_context(|| format!("pg_controldata: {name:?} is not a number"))
        };
        let off = |value: &str| matches!(value, "0" | "off");
        let hints = [find("wal_log_hints setting"), find("Data page checksum version")];
        Ok(Self {
            system: number("Database system identifier")?,
            state: field("Database cluster state")?.to_owned(),
            checkpoint: Lsn::parse(field("Latest checkpoint location")?)
                .context("pg_controldata: the checkpoint's location is not a valid position")?,
            timeline: u32::try_from(number("Latest checkpoint's TimeLineID")?)?,
            recovery_timeline: find("Min recovery ending loc's timeline")
                .and_then(|value| value.parse().ok())
                .unwrap_or(0),
            segment: number("Bytes per WAL segment")?,
            rewindable: hints.into_iter().flatten().any(|value| !off(value)),
        })
    }

    /// The state alone, which is in the tool's output of both servers.
    ///
    /// # Errors
    /// When it is not.
    pub fn state(text: &str) -> anyhow::Result<String> {
        let named = |line: &str| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "Database cluster state").then(|| value.trim().to_owned())
        };
        text.lines()
            .find_map(named)
            .with_context(|| format!("pg_controldata shows no state: {text:?}"))
    }

    /// Whether it was shut down in order as a primary.
    #[must_use]
    pub fn shut_down(&self) -> bool {
        self.state == "shut down"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "pg_control version number:            1300\n\
        Database system identifier:           7575000000000000001\n\
        Database cluster state:               shut down\n\
        Latest checkpoint location:           0/3000148\n\
        Latest checkpoint's REDO location:    0/3000148\n\
        Latest checkpoint's REDO WAL file:    000000010000000000000003\n\
        Latest checkpoint's TimeLineID:       1\n\
        Min recovery ending loc's timeline:   0\n\
        wal_log_hints setting:                off\n\
        Bytes per WAL segment:                16777216\n\
        Data page checksum version:           0\n";

    #[test]
    fn a_control_file_is_read() {
        let seen = Control::parse(TEXT).unwrap();
        assert_eq!((seen.system, seen.timeline), (7_575_000_000_000_000_001, 1));
        assert_eq!((seen.checkpoint, seen.segment), (Lsn::parse("0/3000148").unwrap(), 16 << 20));
        assert!(seen.shut_down() && !seen.rewindable);
        let hints =
            TEXT.replace("wal_log_hints setting:                off", "wal_log_hints setting: on");
        assert!(Control::parse(&hints).unwrap().rewindable);
        let sums = TEXT.replace("checksum version:           0", "checksum version:           1");
        assert!(Control::parse(&sums).unwrap().rewindable);
        let killed = TEXT.replace("shut down", "in production");
        assert!(!Control::parse(&killed).unwrap().shut_down());
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = Control::parse("Database system identifier: 1\n").unwrap_err().to_string();
        assert!(error.contains("Database cluster state"), "{error}");
    }
}
