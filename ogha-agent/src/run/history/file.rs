//! The history's file: one line of JSON a timeline. It has a bound: when it is reached the file takes the
//! place of the older one beside it. A thread of its own writes it, for a disk may be full, or hang.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use tracing::{info, warn};

/// Where the file has its end, in octets. With the older one it takes twice as much.
const MOST_OCTETS: u64 = 1 << 20;
/// Timelines that may wait for the disk.
const MOST_WAITING: usize = 256;

enum Item {
    Line(Vec<u8>),
    /// All before it was written, or not, when the other end is dropped.
    Flush(#[expect(dead_code, reason = "dropped, not used")] SyncSender<()>),
}

/// The file, and who writes it.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    items: Option<SyncSender<Item>>,
}

impl HistoryFile {
    /// The file of that directory, with the last lines of what is in it.
    pub fn open(state_dir: &Path) -> (Self, Vec<Vec<u8>>) {
        let path = state_dir.join("history.jsonl");
        let mut lines = last_lines(&older(&path));
        lines.append(&mut last_lines(&path));
        let (items, queue) = sync_channel(MOST_WAITING);
        let to = path.clone();
        let writer = thread::Builder::new().name("ogha-history".to_owned());
        let started = writer.spawn(move || write_all(&to, &queue));
        if let Err(e) = &started {
            warn!("no thread for the history: {e}; it is kept in memory only");
        }
        (Self { path, items: started.is_ok().then_some(items) }, lines)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line, soon. Waits for nothing.
    pub fn append(&self, line: Vec<u8>) {
        if self.items.as_ref().is_some_and(|items| items.try_send(Item::Line(line)).is_err()) {
            warn!("{} hangs: a timeline is kept in memory only", self.path.display());
        }
    }

    /// Waits until all is written, at most that long.
    pub fn flush(&self, limit: Duration) {
        let (done, wait) = sync_channel(0);
        if self.items.as_ref().is_some_and(|items| items.try_send(Item::Flush(done)).is_ok()) {
            let _ = wait.recv_timeout(limit);
        }
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

fn write_all(path: &Path, queue: &Receiver<Item>) {
    let mut failing = false;
    while let Ok(item) = queue.recv() {
        let Item::Line(line) = item else { continue };
        match append(path, &line) {
            Ok(()) if failing => {
                failing = false;
                info!("can write the history {} again", path.display());
            }
            Ok(()) => {}
            // Once, for each change of roles would say the same.
            Err(e) if !failing => {
                failing = true;
                warn!(
                    "cannot write the history {}: {e}; the history is kept in memory only",
                    path.display()
                );
            }
            Err(_) => {}
        }
    }
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open(path, OpenOptions::new().create(true).append(true).read(true).mode(0o600))?;
    let mut length = file.metadata()?.len();
    if length > 0 && length + line.len() as u64 >= MOST_OCTETS {
        fs::rename(path, older(path))?;
        file = open(path, OpenOptions::new().create(true).append(true).read(true).mode(0o600))?;
        length = 0;
    }
    let mut text = Vec::with_capacity(line.len() + 2);
    if length > 0 && !ends_a_line(&mut file)? {
        text.push(b'\n');
    }
    text.extend_from_slice(line);
    text.push(b'\n');
    file.write_all(&text)
}

/// A line that was cut short, by a full disk or a crash, must not swallow the next.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// A regular file, or none: what waits for somebody else must not be waited for.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = options.custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// The lines at the end of a file, as many as its bound allows. A file that is not there has none.
fn last_lines(path: &Path) -> Vec<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = open(path, OpenOptions::new().read(true))?;
        let skipped = file.metadata()?.len().saturating_sub(MOST_OCTETS);
        file.seek(SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.take(MOST_OCTETS).read_to_end(&mut bytes)?;
        if skipped > 0 {
            // The first line has lost its beginning.
            let first = bytes.iter().position(|&octet| octet == b'\n');
            bytes.drain(..first.map_or(bytes.len(), |first| first + 1));
        }
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => {
            let lines = bytes.split(|&octet| octet == b'\n').filter(|line| !line.is_empty());
            lines.map(<[u8]>::to_vec).collect()
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => {
            warn!("cannot read the history {}: {e}", path.display());
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_never_grows_beyond_its_bound_and_the_newest_lines_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let (file, lines) = HistoryFile::open(directory.path());
        assert!(lines.is_empty());
        let many = 3000;
        for n in 0..many {
            file.append(format!("{n:01000}").into_bytes());
            if n % 100 == 0 {
                file.flush(LONG);
            }
        }
        file.flush(LONG);
        for path in [file.path().to_owned(), older(file.path())] {
            let length = fs::metadata(&path).unwrap().len();
            assert!(0 < length && length <= MOST_OCTETS, "{}: {length}", path.display());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        let (_, lines) = HistoryFile::open(directory.path());
        assert_eq!(lines.last().unwrap(), format!("{:01000}", many - 1).as_bytes());
        assert!(lines.len() > 1000, "{}", lines.len());
    }

    #[test]
    fn of_a_huge_file_only_the_end_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        drop(file);
        append(&path, b"last").unwrap();
        // It has the older one's place now.
        let (_, lines) = HistoryFile::open(directory.path());
        assert_eq!(lines.last().unwrap(), b"last");
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_swallow_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        fs::write(&path, b"{\"cut\":\xff").unwrap();
        append(&path, b"next").unwrap();
        assert_eq!(last_lines(&path), [&b"{\"cut\":\xff"[..], b"next"]);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (file, lines) = HistoryFile::open(directory.path());
        assert!(lines.is_empty());
        file.append(b"line".to_vec());
        file.flush(LONG);
        assert!(append(&path, b"line").is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(append(&path, b"line").is_err() && last_lines(&path).is_empty());
    }
}
