//! What stands in a server's log, read by `pg_waldump` without starting the server.

use std::{fmt, path::Path, time::Duration};

use anyhow::Context as _;
use ogha_common::units::Lsn;

use super::super::super::{
    local::{Call, Local},
    process::last_words,
};

/// A log of many segments takes minutes to read.
const DEADLINE: Duration = Duration::from_secs(600);

/// What was written from a position on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The end of the last record.
    pub end: Lsn,
    /// Transactions that were committed.
    pub commits: u64,
    /// Rows inserted, updated and deleted, those of catalogues counted with them.
    pub rows: [u64; 3],
    /// Records that insert several rows at once.
    pub many: u64,
}

impl Written {
    /// Reads a timeline from a position to its end, which is no later than `limit`: the tool fails where
    /// it misses a file. `None` if nothing stands there.
    ///
    /// # Errors
    /// When the log there cannot be read.
    pub async fn read(
        local: &Local,
        log_dir: &Path,
        timeline: u32,
        from: Lsn,
        limit: Lsn,
    ) -> anyhow::Result<Option<Self>> {
        let call = Call::new("pg_waldump", DEADLINE)
            .args(["--stats=record", "--path"])
            .arg(log_dir)
            .args(["--timeline", &timeline.to_string(), "--start", &from.to_string()])
            .args(["--end", &limit.to_string()]);
        let outcome = local.call(call).await?;
        let [stdout, stderr] =
            [&outcome.stdout, &outcome.stderr].map(|text| String::from_utf8_lossy(text));
        if stderr.contains("could not find a valid record") {
            return Ok(None);
        }
        let read = Self::parse(&stdout, &stderr, outcome.status.success().then_some(limit));
        read.with_context(|| format!("cannot read the WAL by pg_waldump: {}", last_words(&stderr)))
            .map(Some)
    }

    /// The table of `--stats=record`, and the error with which the end of a log is reported.
    fn parse(table: &str, errors: &str, limit: Option<Lsn>) -> Option<Self> {
        let count = |names: &[&str]| -> u64 {
            let lines = table.lines().filter_map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next()?.trim_end_matches("+INIT");
                names.contains(&name).then(|| words.next()?.parse::<u64>().ok())?
            });
            lines.sum()
        };
        Some(Self {
            end: end_of(table).or_else(|| end_of(errors)).or(limit)?,
            commits: count(&["Transaction/COMMIT", "Transaction/COMMIT_PREPARED"]),
            rows: [
                count(&["Heap/INSERT"]),
                count(&["Heap/UPDATE", "Heap/HOT_UPDATE"]),
                count(&["Heap/DELETE"]),
            ],
            many: count(&["Heap2/MULTI_INSERT"]),
        })
    }

    /// Both together.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        let rows = std::array::from_fn(|at| self.rows[at] + later.rows[at]);
        let (commits, many) = (self.commits + later.commits, self.many + later.many);
        Self { end: later.end, commits, rows, many }
    }
}

/// The last position of `between 0/1516768 and 0/1518298:`, or of an error that names where there is
/// no record any more.
fn end_of(text: &str) -> Option<Lsn> {
    let told = text.lines().find(|line| line.contains("between ") || line.contains("record"))?;
    told.split([' ', ':', ',']).filter_map(Lsn::parse).next_back()
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [inserted, updated, deleted] = self.rows;
        write!(
            f,
            "{} committed transactions; rows: {inserted} inserted, {updated} updated, {deleted} deleted",
            self.commits
        )?;
        match self.many {
            0 => Ok(()),
            many => write!(f, ", and {many} records of several inserted rows each"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
WAL statistics between 0/1516768 and 0/1518298:
Type                                           N      (%)          Record size      (%)
----                                           -      ---          -----------      ---
Transaction/COMMIT                             3 (  2.75)                  102 (  1.59)
Heap2/MULTI_INSERT                             2 (  2.75)                  102 (  1.59)
Heap/INSERT                                   99 ( 90.83)                 5841 ( 91.25)
Heap/DELETE                                    4 (  3.67)                  216 (  3.37)
Heap/HOT_UPDATE                                1 (  0.92)                   69 (  1.08)
Heap/INSERT+INIT                               1 (  0.92)                   59 (  0.92)
Total                                        109                          6401 [100.00%]
";
    const ERROR: &str = "pg_waldump: error: error in WAL record at 0/1518270: invalid record length at \
                         0/15182A8: wanted 24, got 0\n";

    #[test]
    fn rows_and_transactions_are_counted() {
        let written = Written::parse(TABLE, ERROR, None).unwrap();
        assert_eq!(written.end, Lsn::parse("0/1518298").unwrap());
        assert_eq!(
            written.to_string(),
            "3 committed transactions; rows: 100 inserted, 1 updated, 4 deleted, and 2 records of \
             several inserted rows each"
        );
        assert_eq!(written.and(written).rows, [200, 2, 8]);
    }

    #[test]
    fn before_version_15_only_the_error_names_the_end() {
        let table = TABLE.lines().skip(1).collect::<Vec<_>>().join("\n");
        let written = Written::parse(&table, ERROR, None).unwrap();
        assert_eq!(written.end, Lsn::parse("0/15182A8").unwrap());
        assert_eq!(Written::parse("", "pg_waldump: error: no such file\n", None), None);
        let limit = Lsn::parse("0/2000000");
        assert_eq!(Written::parse(&table, "", limit).map(|written| written.end), limit);
    }
}
