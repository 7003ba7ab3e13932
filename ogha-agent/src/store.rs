//! The cluster record on disk: written and flushed before the node acts on it.
//!
//! Writing it is part of every outage, so it must cost one flush and no more. The file has two
//! slots of one sector each, made once; the next record overwrites the older slot in place, and
//! `fdatasync` has nothing to write but that sector. A write that is torn by a power cut leaves
//! a slot whose checksum is wrong, beside the one that holds the record before it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use ogha_common::{
    failover::{Marks, NodeSet, Record},
    units::{NodeId, Term},
};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// The mark of an operator's pause, beside the record.
const PAUSED: &str = "paused";
/// The mark of a switchover that has stopped the database here.
const HANDED_OVER: &str = "handed-over";

/// What a disk writes whole.
const SLOT: usize = 512;

/// Where one instance keeps its record.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    /// Grows with each save: of two records of one term, as a split leaves them, the later counts.
    save: u64,
    term: u64,
    primary: u64,
    in_sync: Vec<u64>,
}

/// The how-manieth save, and what was saved.
type Saved = (u64, Record);

impl Store {
    /// The store of the instance with this name. Creates the directory and the file.
    ///
    /// # Errors
    /// When they can't be made.
    pub fn open(state_dir: &Path, instance: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(state_dir)
            .with_context(|| format!("cannot make the state directory {}", state_dir.display()))?;
        let store = Self { path: state_dir.join(format!("{instance}.record")) };
        store.make().with_context(|| store.cannot("make"))?;
        Ok(store)
    }

    /// Makes the file with its full size, so that no later write changes more than a slot.
    fn make(&self) -> io::Result<()> {
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path);
        let file = match new {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        };
        file.write_all_at(&[0; 2 * SLOT], 0)?;
        file.sync_all()?;
        sync_directory(&self.path)
    }

    /// The record, or `None` before the first.
    ///
    /// # Errors
    /// When the file can't be read or both slots are damaged: a node that has forgotten its word
    /// must not guess it.
    pub fn load(&self) -> anyhow::Result<Option<Record>> {
        let slots = self.slots().with_context(|| self.cannot("read"))?;
        let newest = slots.iter().flatten().flatten().max_by_key(|saved| saved.0);
        match newest {
            Some(&(_, record)) => Ok(Some(record)),
            None if slots == [Some(None), Some(None)] => Ok(None),
            None => bail!(
                "the cluster record {} is damaged. If another node serves, remove the file and \
                 start again: this node then learns the record from it",
                self.path.display()
            ),
        }
    }

    /// Overwrites the older slot and flushes it.
    ///
    /// # Errors
    /// When either fails; the record before is then still there.
    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            let [first, second] =
                self.slots()?.map(|slot| slot.flatten().map_or(0, |saved| saved.0));
            let older = if first <= second { 0 } else { SLOT as u64 };
            let file = OpenOptions::new().write(true).open(&self.path)?;
            file.write_all_at(&encode(first.max(second) + 1, record)?, older)?;
            file.sync_data()
        };
        write().with_context(|| self.cannot("write"))
    }

    /// Both slots: `None` for one that is damaged, `Some(None)` for one never written.
    fn slots(&self) -> io::Result<[Option<Option<Saved>>; 2]> {
        let file = File::open(&self.path)?;
        let mut bytes = [0; 2 * SLOT];
        let length = file.read_at(&mut bytes, 0)?;
        let (first, second) = bytes.split_at(SLOT);
        Ok(if length == bytes.len() { [decode(first), decode(second)] } else { [None, None] })
    }

    /// What must outlive an agent beside the record.
    ///
    /// # Errors
    /// When that can't be told.
    pub fn marks(&self) -> anyhow::Result<Marks> {
        let is_there = |mark: &str| {
            let path = self.path.with_extension(mark);
            path.try_exists().with_context(|| format!("cannot look for {}", path.display()))
        };
        Ok(Marks { paused: is_there(PAUSED)?, handed_over: is_there(HANDED_OVER)? })
    }

    /// Remembers these, over a power cut too.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn save_marks(&self, marks: Marks) -> anyhow::Result<()> {
        self.save_mark(PAUSED, marks.paused)?;
        self.save_mark(HANDED_OVER, marks.handed_over)
    }

    /// An empty file is the mark.
    fn save_mark(&self, mark: &str, set: bool) -> anyhow::Result<()> {
        let path = self.path.with_extension(mark);
        let write = || -> io::Result<()> {
            if path.try_exists()? == set {
                return Ok(());
            }
            if set {
                let mut new = OpenOptions::new();
                new.write(true).create(true).truncate(true).mode(0o600).open(&path)?.sync_all()?;
            } else {
                fs::remove_file(&path)?;
            }
            sync_directory(&path)
        };
        let what = if set { "make" } else { "remove" };
        write().with_context(|| {
            format!("cannot {what} {}: it holds until the agent ends", path.display())
        })
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} the cluster record {}", self.path.display())
    }
}

/// What was made or removed beside this file is so on disk.
fn sync_directory(file: &Path) -> io::Result<()> {
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// A line of JSON with its checksum before it, for people who look: `0123456789abcdef {..}`.
fn encode(save: u64, record: &Record) -> io::Result<[u8; SLOT]> {
    let json = serde_json::to_string(&OnDisk {
        save,
        term: record.term.get(),
        primary: record.primary.get(),
        in_sync: record.in_sync.iter().map(NodeId::get).collect(),
    })?;
    let line = format!("{:016x} {json}\n", checksum(json.as_bytes()));
    let mut slot = [0; SLOT];
    match slot.get_mut(..line.len()) {
        Some(place) => place.copy_from_slice(line.as_bytes()),
        None => return Err(io::Error::other("the record is longer than a sector")),
    }
    Ok(slot)
}

fn decode(slot: &[u8]) -> Option<Option<Saved>> {
    if slot.iter().all(|&octet| octet == 0) {
        return Some(None);
    }
    let end = slot.iter().position(|&octet| octet == b'\n')?;
    let (sum, json) = std::str::from_utf8(&slot[..end]).ok()?.split_once(' ')?;
    if u64::from_str_radix(sum, 16).ok()? != checksum(json.as_bytes()) {
        return None;
    }
    let on_disk: OnDisk = serde_json::from_str(json).ok()?;
    let in_sync: Option<Vec<NodeId>> = on_disk.in_sync.into_iter().map(NodeId::from_wire).collect();
    let record = Record {
        term: Term::new(on_disk.term),
        primary: NodeId::from_wire(on_disk.primary)?,
        in_sync: NodeSet::new(&in_sync?)?,
    };
    Some(Some((on_disk.save, record)))
}

/// Against torn writes, not against people: no key.
fn checksum(bytes: &[u8]) -> u64 {
    SipHasher24::new().hash(bytes)
}

#[cfg(test)]
mod tests {
    use ogha_common::failover::MAX_NODES;

    use super::*;

    fn record(term: u64) -> Record {
        let nodes: [NodeId; MAX_NODES] = std::array::from_fn(|i| NodeId::new(u64::MAX - i as u64));
        Record { term: Term::new(term), primary: nodes[1], in_sync: NodeSet::new(&nodes).unwrap() }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("new"), "VI_1").unwrap();
        (directory, store)
    }

    #[test]
    fn a_record_comes_back_as_it_was_saved() {
        let (_directory, store) = store();
        assert_eq!(store.load().unwrap(), None);
        for term in [1, 2, 3, u64::MAX] {
            store.save(&record(term)).unwrap();
            assert_eq!(store.load().unwrap(), Some(record(term)));
        }
        let again = Store::open(store.path.parent().unwrap(), "VI_1").unwrap();
        assert_eq!(again.load().unwrap(), Some(record(u64::MAX)));
    }

    #[test]
    fn of_two_records_of_one_term_the_later_counts() {
        let (_directory, store) = store();
        let alone = Record { in_sync: NodeSet::EMPTY, ..record(3) };
        for saved in [record(3), alone, record(3), record(2), alone] {
            store.save(&saved).unwrap();
            assert_eq!(store.load().unwrap(), Some(saved));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_record_before() {
        let (_directory, store) = store();
        store.save(&record(3)).unwrap();
        let before = fs::read(&store.path).unwrap();
        store.save(&record(4)).unwrap();
        let whole = fs::read(&store.path).unwrap();
        let newer = if before[..SLOT] == whole[..SLOT] { SLOT } else { 0 };
        for torn_at in 1..100 {
            let mut torn = whole.clone();
            torn[newer + torn_at..newer + SLOT].fill(0);
            fs::write(&store.path, torn).unwrap();
            assert_eq!(store.load().unwrap(), Some(record(3)), "{torn_at}");
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_a_fresh_start() {
        let (_directory, store) = store();
        store.save(&record(3)).unwrap();
        let whole = fs::read(&store.path).unwrap();
        let mut flipped = whole.clone();
        flipped[20] ^= 1;
        for damaged in [&flipped[..], &whole[..SLOT], b""] {
            fs::write(&store.path, damaged).unwrap();
            let error = format!("{:#}", store.load().unwrap_err());
            assert!(error.contains("VI_1.record"), "{error}");
        }
    }

    #[test]
    fn a_pause_is_remembered_until_it_ends() {
        let (_directory, store) = store();
        assert_eq!(store.marks().unwrap(), Marks::default());
        for paused in [true, true, false, false, true] {
            let marks = Marks { paused, handed_over: !paused };
            store.save_marks(marks).unwrap();
            let again = Store::open(store.path.parent().unwrap(), "VI_1").unwrap();
            assert_eq!(again.marks().unwrap(), marks);
            assert_eq!(again.load().unwrap(), None, "the record is another matter");
        }
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let (_directory, store) = store();
        fs::remove_file(&store.path).unwrap();
        assert!(format!("{:#}", store.save(&record(4)).unwrap_err()).contains("cannot write"));
    }
}
