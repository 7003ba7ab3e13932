//! The cluster record on disk: written and flushed before the node acts on it.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use ogha_common::{
    failover::{NodeSet, Record},
    units::{NodeId, Term},
};
use serde::{Deserialize, Serialize};

/// Where one instance keeps its record.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    term: u64,
    primary: u64,
    in_sync: Vec<u64>,
}

impl Store {
    /// The store of the instance with this name. Creates the directory.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(state_dir: &Path, instance: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(state_dir).with_context(|| {
            format!("cannot make the state directory {}", state_dir.display())
        })?;
        Ok(Self { path: state_dir.join(format!("{instance}.record.json")) })
    }

    /// The record, or `None` before the first.
    ///
    /// # Errors
    /// When the file can't be read or is damaged: a node that has forgotten its word must not
    /// guess it.
    pub fn load(&self) -> anyhow::Result<Option<Record>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| self.cannot("read")),
        };
        let on_disk: OnDisk = serde_json::from_slice(&text).with_context(|| {
            format!(
                "the cluster record {} is damaged; if another node serves, remove the file and \
                 start again: this node then learns the record from it",
                self.path.display()
            )
        })?;
        let nodes: Option<Vec<NodeId>> = on_disk.in_sync.iter().map(|&n| node(n)).collect();
        match (node(on_disk.primary), nodes.as_deref().and_then(NodeSet::new)) {
            (Some(primary), Some(in_sync)) => {
                Ok(Some(Record { term: Term::new(on_disk.term), primary, in_sync }))
            }
            _ => bail!("the cluster record {} names impossible nodes", self.path.display()),
        }
    }

    /// Writes the record beside the old one, flushes it, puts it in its place and flushes that.
    ///
    /// # Errors
    /// When any of it fails; the old record is then still there.
    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        let on_disk = OnDisk {
            term: record.term.get(),
            primary: record.primary.get(),
            in_sync: record.in_sync.iter().map(NodeId::get).collect(),
        };
        let next = self.path.with_extension("json.next");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&next)?;
            file.write_all(&serde_json::to_vec(&on_disk)?)?;
            file.sync_all()?;
            fs::rename(&next, &self.path)?;
            let directory = self.path.parent().unwrap_or(Path::new("/"));
            File::open(directory)?.sync_all()
        };
        write().with_context(|| self.cannot("write"))
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} the cluster record {}", self.path.display())
    }
}

fn node(id: u64) -> Option<NodeId> {
    (id != 0).then(|| NodeId::new(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(term: u64) -> Record {
        let nodes = [NodeId::new(7), NodeId::new(u64::MAX)];
        Record { term: Term::new(term), primary: nodes[1], in_sync: NodeSet::new(&nodes).unwrap() }
    }

    #[test]
    fn a_record_comes_back_as_it_was_saved() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("new"), "VI_1").unwrap();
        assert_eq!(store.load().unwrap(), None);
        for term in [1, 2] {
            store.save(&record(term)).unwrap();
            assert_eq!(store.load().unwrap(), Some(record(term)));
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_a_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), "VI_1").unwrap();
        store.save(&record(3)).unwrap();
        let path = directory.path().join("VI_1.record.json");
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"{}", br#"{"term":1,"primary":0,"in_sync":[]}"#] {
            fs::write(&path, damaged).unwrap();
            let error = format!("{:#}", store.load().unwrap_err());
            assert!(error.contains("VI_1.record.json"), "{error}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), "VI_1").unwrap();
        store.save(&record(3)).unwrap();
        fs::create_dir(directory.path().join("VI_1.record.json.next")).unwrap();
        store.save(&record(4)).unwrap_err();
        assert_eq!(store.load().unwrap(), Some(record(3)));
    }
}
