//! The cluster record on disk: written and flushed before the node acts on it.
//!
//! Writing it is part of every outage, so it must cost one flush and no more. The file has two
//! slots of one sector each, made once; the next record overwrites the older slot in place, and
//! `fdatasync` has nothing to write but that sector. A write that is torn by a power cut leaves
//! a slot whose checksum is wrong, beside the one that holds the record before it.
//!
//! A file is made under another name, flushed, and then given its own: so it is there whole or not at
//! all, whenever the power goes. And what cannot be read is an error, never "no record": a node that
//! has forgotten its grants must not guess them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    /// The file, once it was opened.
    file: Arc<Mutex<Option<File>>>,
    /// What was last read or saved.
    last: Arc<Mutex<Option<Record>>>,
}

/// Both slots of the file; `None` where it has not its full size.
fn slots(file: &File) -> io::Result<Option<Slots>> {
    let mut bytes = [0; 2 * SLOT];
    match file.read_exact_at(&mut bytes, 0) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (first, second) = bytes.split_at(SLOT);
    Ok(Some([decode(first), decode(second)]))
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    /// Grows with each save: of two records of one term, as a split leaves them, the later counts.
    save: u64,
    term: u64,
    primary: u64,
    in_sync: Vec<u64>,
}

/// The number of the save, and what was saved.
type Saved = (u64, Record);
/// Both slots: `None` for one that is damaged, `Some(None)` for one never written.
type Slots = [Option<Option<Saved>>; 2];
/// What a person can do about a record that cannot be used.
const ADVICE: &str = "If another node of the cluster serves, remove the file and start the agent again: \
    this node then learns the record from that one. If no node serves, keep the file, and let the \
    node serve that was primary last";

impl Store {
    /// The store of the instance with this name. Creates the directory and the file.
    ///
    /// # Errors
    /// When they can't be made.
    pub fn open(state_dir: &Path, instance: &str) -> anyhow::Result<Self> {
        make_directory(state_dir)
            .with_context(|| format!("cannot make the state directory {}", state_dir.display()))?;
        let path = state_dir.join(format!("{instance}.record"));
        let store = Self { path, file: Arc::default(), last: Arc::default() };
        store.make()?;
        Ok(store)
    }

    /// Makes the file with its full size, so that no later write changes more than a slot.
    fn make(&self) -> anyhow::Result<()> {
        if is_file(&self.path).with_context(|| self.cannot("read"))? {
            return Ok(());
        }
        write_anew(&self.path, &[0; 2 * SLOT]).with_context(|| self.cannot("make"))
    }

    /// The record of the instance with this name, for who only wants to know; `None` before the first,
    /// and where no agent has run yet. Creates nothing.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn peek(state_dir: &Path, instance: &str) -> anyhow::Result<Option<Record>> {
        let path = state_dir.join(format!("{instance}.record"));
        let store = Self { path, file: Arc::default(), last: Arc::default() };
        if is_file(&store.path).with_context(|| store.cannot("read"))? {
            store.load()
        } else {
            Ok(None)
        }
    }

    /// The record, or `None` before the first.
    ///
    /// # Errors
    /// When the file can't be read or both slots are damaged: a node that has forgotten its word
    /// must not guess it.
    pub fn load(&self) -> anyhow::Result<Option<Record>> {
        let slots = self.with_file(slots).with_context(|| self.cannot("read"))?;
        let Some(slots) = slots else {
            bail!("the cluster record {} is cut short. {ADVICE}", self.path.display());
        };
        match newest(&slots) {
            Some((_, record)) => {
                self.remember(record);
                Ok(Some(record))
            }
            None if slots == [Some(None), Some(None)] => Ok(None),
            None => bail!("the cluster record {} is damaged. {ADVICE}", self.path.display()),
        }
    }

    fn remember(&self, record: Record) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    }

    /// Whether what was last read or saved is in the file. Writes nothing there, but beside it, to see
    /// whether that can be done; nothing is flushed, so that it costs the disk little.
    ///
    /// # Errors
    /// When the directory takes no file, or the record can't be read.
    pub fn check(&self) -> anyhow::Result<bool> {
        let directory = self.path.parent().unwrap_or(Path::new("/")).display();
        let beside = self.path.with_extension("check");
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file =
                options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&beside)?;
            // It takes room, so that a disk that has none is noticed.
            let written = file.write_all(&[b'.'; SLOT]);
            // One that stays would keep its room, in which the next check would find its own.
            fs::remove_file(&beside).and(written)
        };
        match write() {
            Err(e) if is_missing(&e) => {
                bail!("the state directory {directory} is gone: make it anew")
            }
            other => other.with_context(|| {
                format!(
                    "cannot write in the state directory {directory}; a takeover would fail here \
                     until that is put right"
                )
            })?,
        }
        let same = |file: &File| {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(slots(file)?.and_then(|slots| newest(&slots)).map(|saved| saved.1) == last)
        };
        match self.with_file(same) {
            Err(e) if is_missing(&e) => Ok(false),
            other => other.with_context(|| self.cannot("read")),
        }
    }

    /// Overwrites the older slot and flushes it. A file that was cut short or removed meanwhile is written
    /// anew.
    ///
    /// # Errors
    /// When either fails; the record before is then still there.
    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        let write = |file: &File| -> io::Result<()> {
            let Some(slots) = slots(file)? else {
                let mut bytes = [0; 2 * SLOT];
                bytes[..SLOT].copy_from_slice(&encode(1, record)?);
                return write_anew(&self.path, &bytes);
            };
            let [first, second] = slots.map(|slot| slot.flatten().map_or(0, |saved| saved.0));
            let older = if first <= second { 0 } else { SLOT as u64 };
            file.write_all_at(&encode(first.max(second) + 1, record)?, older)?;
            file.sync_data()
        };
        let written = match self.with_file(|file| write(file).map(|()| self.remember(*record))) {
            Err(e) if is_missing(&e) => self.write_first(record),
            other => other,
        };
        written.with_context(|| self.cannot("write"))
    }

    /// Where the file is gone, with its directory perhaps.
    fn write_first(&self, record: &Record) -> io::Result<()> {
        make_directory(self.path.parent().unwrap_or(Path::new("/")))?;
        let mut bytes = [0; 2 * SLOT];
        bytes[..SLOT].copy_from_slice(&encode(1, record)?);
        write_anew(&self.path, &bytes)?;
        self.remember(*record);
        Ok(())
    }

    /// Does that with the file, which stays open: a record must be written when no descriptor is to be
    /// had any more. One that was put in its place is opened anew.
    fn with_file<T>(&self, act: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let mut kept = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let there = fs::metadata(&self.path)?;
        let same = |file: &File| {
            let meta = file.metadata();
            meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == (there.dev(), there.ino()))
        };
        let file = match kept.take().filter(same) {
            Some(file) => file,
            None => OpenOptions::new().read(true).write(true).open(&self.path)?,
        };
        act(kept.insert(file))
    }

    /// What must outlive an agent beside the record.
    ///
    /// # Errors
    /// When that can't be told.
    pub fn marks(&self) -> anyhow::Result<Marks> {
        let is_there = |mark: &str| {
            let path = self.path.with_extension(mark);
            is_file(&path).with_context(|| format!("cannot read the mark {}", path.display()))
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
            if is_file(&path)? == set {
                return Ok(());
            }
            if set {
                return write_anew(&path, b"");
            }
            match fs::remove_file(&path) {
                Err(e) if !is_missing(&e) => Err(e),
                _ => sync_directory(&path),
            }
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

fn newest(slots: &Slots) -> Option<Saved> {
    slots.iter().copied().flatten().flatten().max_by_key(|saved| saved.0)
}

/// Only this says that there is no file. Any other error says that it is not known: no permission, a
/// disk that fails, no descriptor left.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// Whether a file is there.
fn is_file(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(true),
        Err(e) if is_missing(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes the directory and those above it, so that they outlast a power cut.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync_directory(path)
}

/// Makes or replaces a file: whole, or not at all.
fn write_anew(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // One that a crash has left is of no use.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

/// What was made, renamed or removed beside this file is so on disk.
fn sync_directory(file: &Path) -> io::Result<()> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    File::open(parent)?.sync_all()
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
        store.save(&record(2)).unwrap();
        store.save(&record(3)).unwrap();
        let before = fs::read(&store.path).unwrap();
        store.save(&record(4)).unwrap();
        let whole = fs::read(&store.path).unwrap();
        let newer = if before[..SLOT] == whole[..SLOT] { SLOT } else { 0 };
        let end = whole[newer..].iter().position(|&octet| octet == b'\n').unwrap();
        for torn_at in 0..=end {
            // The rest of the sector is what was there before, or nothing.
            for rest in [before.clone(), vec![0; 2 * SLOT]] {
                let mut torn = whole.clone();
                torn[newer + torn_at..newer + SLOT]
                    .copy_from_slice(&rest[newer + torn_at..newer + SLOT]);
                // Where the rest was the same before, nothing is torn.
                let expected = if torn == whole { 4 } else { 3 };
                fs::write(&store.path, torn).unwrap();
                assert_eq!(store.load().unwrap(), Some(record(expected)), "{torn_at}");
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_an_error_at_each_length() {
        let (_directory, store) = store();
        for saves in 0..3 {
            let whole = fs::read(&store.path).unwrap();
            for length in 0..whole.len() {
                fs::write(&store.path, &whole[..length]).unwrap();
                let again = Store::open(store.path.parent().unwrap(), "VI_1").unwrap();
                let error = format!("{:#}", again.load().unwrap_err());
                assert!(error.contains("VI_1.record is cut short"), "{length}: {error}");
                assert!(error.contains("remove the file and start the agent again"), "{error}");
            }
            fs::write(&store.path, &whole[..10]).unwrap();
            store.save(&record(7)).unwrap();
            assert_eq!(store.load().unwrap(), Some(record(7)), "it is written anew");
            fs::write(&store.path, &whole).unwrap();
            store.save(&record(saves)).unwrap();
        }
    }

    #[test]
    fn a_creation_that_was_cut_short_is_done_again() {
        for length in [0, 1, SLOT, 2 * SLOT - 1, 2 * SLOT, 4 * SLOT] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("VI_1.record.new"), vec![b'x'; length]).unwrap();
            let store = Store::open(directory.path(), "VI_1").unwrap();
            assert_eq!(store.load().unwrap(), None);
            store.save(&record(1)).unwrap();
            assert_eq!(store.load().unwrap(), Some(record(1)));
        }
    }

    #[test]
    fn only_a_missing_file_is_no_record() {
        use nix::errno::Errno::{
            EACCES, EIO, EISDIR, ELOOP, EMFILE, ENFILE, ENOENT, ENOTDIR, EPERM,
        };
        assert!(is_missing(&ENOENT.into()));
        for errno in [EACCES, EIO, EISDIR, ELOOP, EMFILE, ENFILE, ENOTDIR, EPERM] {
            assert!(!is_missing(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn what_is_in_the_place_of_a_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Store::open(directory.path(), "VI_1");
        let path = directory.path().join("VI_1.record");
        fs::create_dir(&path).unwrap();
        let error = format!("{:#}", open().unwrap_err());
        assert!(error.contains("VI_1.record") && error.contains("is a directory"), "{error}");
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = format!("{:#}", open().unwrap().load().unwrap_err());
        assert!(error.contains("cannot read the cluster record"), "{error}");
        fs::remove_file(&path).unwrap();
        let store = open().unwrap();
        fs::create_dir(store.path.with_extension(PAUSED)).unwrap();
        let error = format!("{:#}", store.marks().unwrap_err());
        assert!(error.contains("VI_1.paused") && error.contains("is a directory"), "{error}");
        fs::write(directory.path().join("file"), "").unwrap();
        let error =
            format!("{:#}", Store::open(&directory.path().join("file"), "VI_1").unwrap_err());
        assert!(error.contains("cannot make the state directory"), "{error}");
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_a_fresh_start() {
        let (_directory, store) = store();
        store.save(&record(3)).unwrap();
        let whole = fs::read(&store.path).unwrap();
        let mut flipped = whole.clone();
        flipped[20] ^= 1;
        for damaged in [&flipped[..], &[b'x'; 2 * SLOT], &[b'\n'; 2 * SLOT]] {
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
    fn a_record_that_is_gone_is_noticed_and_written_anew() {
        let (directory, store) = store();
        assert!(store.check().unwrap(), "there is none yet");
        store.save(&record(4)).unwrap();
        assert!(store.check().unwrap());
        let saved = fs::read(&store.path).unwrap();
        for spoil in [&|| fs::remove_file(&store.path).unwrap() as _, &|| {
            fs::write(&store.path, vec![0; 2 * SLOT]).unwrap();
        }] as [&dyn Fn(); 2]
        {
            spoil();
            assert!(!store.check().unwrap());
            store.save(&record(5)).unwrap();
            assert!(store.check().unwrap());
            assert_eq!(store.load().unwrap(), Some(record(5)));
        }
        // An older one, as from a backup.
        fs::write(&store.path, saved).unwrap();
        assert!(!store.check().unwrap());
        fs::remove_dir_all(directory.path().join("new")).unwrap();
        let error = format!("{:#}", store.check().unwrap_err());
        assert!(error.contains("new is gone: make it anew"), "{error}");
        store.save(&record(6)).unwrap();
        assert!(store.check().unwrap(), "a takeover makes the directory itself");
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let (_directory, store) = store();
        fs::remove_file(&store.path).unwrap();
        fs::create_dir(&store.path).unwrap();
        assert!(format!("{:#}", store.save(&record(4)).unwrap_err()).contains("cannot write"));
    }
}
