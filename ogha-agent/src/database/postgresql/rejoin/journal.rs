//! What a rejoin must remember, beside the data directory: `<data_dir>.ogha-rejoin/`. It is there
//! from the first change to the last, so that a rejoin that was killed is taken up where it was.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::super::super::{Lost, files, lost};

/// How far the data directory has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejoinPhase {
    /// It is a whole cluster's.
    Whole,
    /// `pg_rewind` began on it: it is neither the old state nor the new one.
    Rewinding,
    /// A copy of the upstream is ready to take its place.
    Copied,
}

/// The journal's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// How far it is.
    pub phase: RejoinPhase,
    /// The permissions that the data directory has when it is to be used.
    pub mode: u32,
    /// `primary_conninfo` as the server had it.
    pub conninfo: String,
    /// What is lost, once it is known.
    pub lost: Option<Lost>,
    /// Where the former data directory goes when the copy takes its place.
    pub before: Option<PathBuf>,
}

/// Permissions with which no server starts, and which give nobody a right that the owner has not
/// (a group that may write and not enter can do neither). `pg_rewind` works with them, and removes
/// `standby.signal` on its way; this stays.
pub const LOCKED: u32 = 0o720;

const FILE: &str = "journal.json";
const KEPT: &str = "files";
const OPTIONS: &str = "postmaster.opts";

impl Journal {
    /// The journal's directory.
    pub fn dir(data_dir: &Path) -> PathBuf {
        lost::beside(data_dir, "rejoin")
    }

    /// The journal of an interrupted rejoin, if there is one.
    pub fn load(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = Self::dir(data_dir).join(FILE);
        let text = files::read(&path)?;
        text.map(|text| serde_json::from_slice(&text))
            .transpose()
            .with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it down.
    pub fn save(&self, data_dir: &Path) -> anyhow::Result<()> {
        let dir = Self::dir(data_dir);
        files::make_dir(&dir)?;
        files::replace(&dir.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Forgets it: the rejoin is done.
    pub fn remove(data_dir: &Path) -> anyhow::Result<()> {
        // First the file that says that there is something to take up.
        let dir = Self::dir(data_dir);
        files::remove(&dir.join(FILE))?;
        files::remove_tree(&dir)
    }

    /// Keeps the files that belong to this node and that a copy of another would replace: its
    /// configuration, certificates, the options of its last start.
    pub fn keep_files(data_dir: &Path) -> anyhow::Result<()> {
        let kept = Self::dir(data_dir).join(KEPT);
        files::make_dir(&Self::dir(data_dir))?;
        files::make_dir(&kept)?;
        for name in own_files(data_dir)? {
            // The replay of a rejoin that was killed may have left its own.
            if name != OPTIONS || !files::exists(&kept.join(&name)) {
                files::copy(&data_dir.join(&name), &kept.join(&name))?;
            }
        }
        Ok(())
    }

    /// Puts the options of the server's last start back, over those of a run of the rejoin's own.
    pub fn restore_options(data_dir: &Path) -> anyhow::Result<()> {
        let kept = Self::dir(data_dir).join(KEPT).join(OPTIONS);
        if files::exists(&kept) { files::copy(&kept, &data_dir.join(OPTIONS)) } else { Ok(()) }
    }

    /// Puts them into a data directory.
    pub fn restore_files(data_dir: &Path, into: &Path) -> anyhow::Result<()> {
        let kept = Self::dir(data_dir).join(KEPT);
        for name in own_files(&kept)? {
            files::copy(&kept.join(&name), &into.join(&name))?;
        }
        Ok(())
    }
}

/// Whether a rejoin left a data directory that cannot be used.
pub fn is_half_done(data_dir: &Path) -> bool {
    // A journal that cannot be read is no leave to start.
    !Journal::load(&files::real(data_dir))
        .is_ok_and(|journal| journal.is_none_or(|journal| journal.phase == RejoinPhase::Whole))
}

/// The names of a directory's plain files that are not the server's own.
fn own_files(dir: &Path) -> anyhow::Result<Vec<String>> {
    let configures = |entry: &files::Entry| {
        let plain = entry.meta.is_file() && entry.meta.len() <= files::LARGEST;
        // A link to a file elsewhere is kept as a link; one to a directory is the server's.
        plain || (entry.meta.is_symlink() && !files::leads_to_directory(&dir.join(&entry.name)))
    };
    let entries = files::list(dir)?.into_iter();
    let names = entries.filter(|entry| configures(entry) && !is_servers(&entry.name));
    Ok(names.map(|entry| entry.name).collect())
}

fn is_servers(name: &str) -> bool {
    let names = ["PG_VERSION", "postmaster.pid", "current_logfiles", "backup_manifest"];
    let begins = ["backup_label", "tablespace_map", "ogha-start.log"];
    let ends = [".signal", ".ogha-temp", ".done", ".old"];
    names.contains(&name)
        || begins.iter().any(|begin| name.starts_with(begin))
        || ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_journal_is_taken_up_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        assert_eq!(Journal::load(&data).unwrap(), None);
        let journal = Journal {
            phase: RejoinPhase::Rewinding,
            mode: 0o700,
            conninfo: "host=a".to_owned(),
            lost: None,
            before: None,
        };
        journal.save(&data).unwrap();
        assert_eq!(Journal::load(&data).unwrap(), Some(journal));
        fs::write(Journal::dir(&data).join(FILE), "{").unwrap();
        assert!(Journal::load(&data).unwrap_err().to_string().contains("is damaged"));
        Journal::remove(&data).unwrap();
        assert!(!Journal::dir(&data).exists());
    }

    #[test]
    fn the_nodes_own_files_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&copy).unwrap();
        for name in ["pg_hba.conf", "server.key", "postmaster.opts", "PG_VERSION", "standby.signal"]
        {
            fs::write(data.join(name), "ours").unwrap();
            fs::write(copy.join(name), "theirs").unwrap();
        }
        Journal::keep_files(&data).unwrap();
        fs::write(data.join(OPTIONS), "of a replay").unwrap();
        Journal::keep_files(&data).unwrap();
        Journal::restore_options(&data).unwrap();
        assert_eq!(fs::read_to_string(data.join(OPTIONS)).unwrap(), "ours");
        Journal::restore_files(&data, &copy).unwrap();
        let ours = |name: &str| fs::read_to_string(copy.join(name)).unwrap() == "ours";
        assert!(ours("pg_hba.conf") && ours("server.key") && ours("postmaster.opts"));
        assert!(!ours("PG_VERSION") && !ours("standby.signal"));
    }
}
