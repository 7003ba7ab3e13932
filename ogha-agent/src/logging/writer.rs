//! Who writes the lines: a thread of its own, behind a queue with a bound. Whoever logs never waits; a line
//! that finds no place, or that could not be written, is counted, and the count is written when that is
//! possible again.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::Level;

use super::record::Record;

/// Lines that may wait, and about how many octets of memory they may take.
const MOST_LINES: usize = 4096;
const MOST_OCTETS: usize = 1 << 20;

/// Where lines go. May wait, and may fail.
pub trait Sink: Send + 'static {
    /// Writes a line.
    ///
    /// # Errors
    /// When it could not be written.
    fn write(&mut self, record: &Record) -> io::Result<()>;
    /// Writes text as it is.
    ///
    /// # Errors
    /// When it could not be written.
    fn write_text(&mut self, text: &str) -> io::Result<()>;
}

enum Item {
    Line(Record),
    Text(String),
    /// All before it was written when the other end is dropped.
    Flush(#[expect(dead_code, reason = "dropped, not used")] SyncSender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    /// What the waiting lines take.
    octets: AtomicUsize,
    /// Lines that found no place.
    lost: AtomicU64,
}

/// The end at which lines are put.
#[derive(Clone, Debug)]
pub struct Queue {
    items: SyncSender<Item>,
    counts: Arc<Counts>,
}

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(sink: impl Sink) -> io::Result<Self> {
        let (items, queue) = sync_channel(MOST_LINES);
        let counts = Arc::new(Counts::default());
        let writer = Writer { sink, counts: Arc::clone(&counts), failed: 0, why: None };
        thread::Builder::new().name("ogha-log".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Self { items, counts })
    }

    /// Puts a line into the queue, or counts it as lost.
    pub fn put(&self, record: Record) {
        let size = record.size();
        if self.counts.octets.fetch_add(size, Ordering::Relaxed) + size > MOST_OCTETS
            || self.items.try_send(Item::Line(record)).is_err()
        {
            self.counts.octets.fetch_sub(size, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts text into the queue that is written as it is, if there is a place.
    pub fn put_text(&self, text: &str) {
        let _ = self.items.try_send(Item::Text(text.to_owned()));
    }

    /// Waits until all that was put is written, at most that long.
    pub fn flush(&self, limit: Duration) {
        let give_up = Instant::now() + limit;
        let (done, wait) = sync_channel(0);
        let mut item = Item::Flush(done);
        while let Err(TrySendError::Full(back)) = self.items.try_send(item) {
            if Instant::now() >= give_up {
                return;
            }
            item = back;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = wait.recv_timeout(give_up.saturating_duration_since(Instant::now()));
    }
}

struct Writer<S> {
    sink: S,
    counts: Arc<Counts>,
    /// Lines that could not be written.
    failed: u64,
    /// Why the last could not.
    why: Option<io::Error>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self, queue: &Receiver<Item>) {
        loop {
            let item = match queue.try_recv() {
                Ok(item) => item,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    // What found no place is newer than all that did.
                    self.report_lost();
                    match queue.recv() {
                        Ok(item) => item,
                        Err(_) => return,
                    }
                }
            };
            match item {
                Item::Line(record) => {
                    self.counts.octets.fetch_sub(record.size(), Ordering::Relaxed);
                    self.write(&record);
                }
                Item::Text(text) => drop(self.sink.write_text(&text)),
                Item::Flush(_) => {}
            }
        }
    }

    fn write(&mut self, record: &Record) {
        if self.failed > 0 {
            self.report_lost();
        }
        if let Err(e) = self.sink.write(record) {
            self.failed += 1;
            self.why = Some(e);
        }
    }

    /// Writes how many lines were lost since that was last said.
    fn report_lost(&mut self) {
        let lost = self.failed + self.counts.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let why = match &self.why {
            Some(e) => format!("they could not be written: {e}"),
            None => "they came faster than they could be written".to_owned(),
        };
        let lines = if lost == 1 { "line was" } else { "lines were" };
        let message = format!("{lost} log {lines} lost; {why}");
        match self.sink.write(&Record::new(Level::WARN, module_path!(), &message)) {
            Ok(()) => (self.failed, self.why) = (0, None),
            Err(e) => (self.failed, self.why) = (lost, Some(e)),
        }
    }
}

/// A file, a pipe or a terminal.
#[derive(Debug)]
pub struct Stream<W> {
    to: W,
    with_time: bool,
    colored: bool,
    /// A line was cut short.
    mid_line: bool,
}

impl<W: Write + Send + 'static> Stream<W> {
    /// Lines with their time, and for a terminal with colors.
    pub fn new(to: W, colored: bool) -> Self {
        Self { to, with_time: true, colored, mid_line: false }
    }

    fn write_whole(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.mid_line = !rest.is_empty();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Others who have the same pipe may have made it non-blocking.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl<W: Write + Send + 'static> Sink for Stream<W> {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        let line = record.line(self.with_time, self.colored);
        self.write_text(&line)
    }

    fn write_text(&mut self, text: &str) -> io::Result<()> {
        if self.mid_line {
            self.write_whole("\n")?;
        }
        self.write_whole(text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    /// Takes lines, fails, or waits, as it is told.
    #[derive(Clone, Default)]
    struct Paper {
        lines: Arc<Mutex<Vec<String>>>,
        full: Arc<Mutex<bool>>,
        stuck: Arc<Mutex<()>>,
    }

    impl Sink for Paper {
        fn write(&mut self, record: &Record) -> io::Result<()> {
            drop(self.stuck.lock().unwrap());
            if *self.full.lock().unwrap() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.lines.lock().unwrap().push(record.text());
            Ok(())
        }

        fn write_text(&mut self, text: &str) -> io::Result<()> {
            self.write(&Record::new(Level::ERROR, "", text))
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn put(queue: &Queue, text: &str) {
        queue.put(Record::new(Level::INFO, "test", text));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_reported_before_the_next_line() {
        let paper = Paper::default();
        let queue = Queue::start(paper.clone()).unwrap();
        put(&queue, "first");
        queue.flush(LONG);
        *paper.full.lock().unwrap() = true;
        (0..3).for_each(|_| put(&queue, "nowhere"));
        queue.flush(LONG);
        *paper.full.lock().unwrap() = false;
        put(&queue, "last");
        queue.flush(LONG);
        let lines = paper.lines.lock().unwrap();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].starts_with("3 log lines were lost; they could not be written: "));
        assert_eq!((&*lines[0], &*lines[2]), ("first", "last"));
    }

    #[test]
    fn nobody_waits_for_a_reader_that_is_stuck() {
        let paper = Paper::default();
        let held = paper.stuck.lock().unwrap();
        let queue = Queue::start(paper.clone()).unwrap();
        let many = 3 * MOST_LINES;
        (0..many).for_each(|n| put(&queue, &n.to_string()));
        // Big ones too: the memory has a bound.
        (0..many).for_each(|_| put(&queue, &"x".repeat(8000)));
        assert!(queue.counts.octets.load(Ordering::Relaxed) <= MOST_OCTETS);
        let began = Instant::now();
        queue.flush(Duration::from_millis(10));
        assert!(began.elapsed() < LONG, "a flush has an end");
        drop(held);
        queue.flush(LONG);
        put(&queue, "afterwards");
        queue.flush(LONG);
        let lines = paper.lines.lock().unwrap();
        let written = lines.len() - 2;
        let lost = format!("{} log lines were lost; they came faster", 2 * many - written);
        assert!(lines[lines.len() - 2].starts_with(&lost), "{lost}: {:?}", &lines[written..]);
        assert_eq!(lines[0], "0");
        assert_eq!(lines[lines.len() - 1], "afterwards");
    }

    /// Takes so many octets, then fails, then takes all.
    struct Small(usize, mpsc::Sender<Vec<u8>>);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let takes = bytes.len().min(self.0);
            if takes == 0 {
                self.0 = usize::MAX;
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= takes;
            self.1.send(bytes[..takes].to_vec()).unwrap();
            Ok(takes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_swallow_the_next() {
        let (send, written) = mpsc::channel();
        let mut stream = Stream::new(Small(5, send), false);
        stream.write_text("a long line\n").unwrap_err();
        stream.write_text("another\n").unwrap();
        drop(stream);
        let all: Vec<u8> = written.iter().flatten().collect();
        assert_eq!(String::from_utf8(all).unwrap(), "a lon\nanother\n");
    }
}
