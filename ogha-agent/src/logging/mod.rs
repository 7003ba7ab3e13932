//! The log: to standard error, or as fields to the journal where standard error is connected to it.
//!
//! Whoever logs never waits and never fails: a thread of its own writes the lines (`writer`). Whatever
//! others wrote comes out as one line, without control characters (`record`).

mod journal;
mod record;
mod writer;

use std::{
    env,
    fs::File,
    io::{self, IsTerminal as _, stderr},
    mem::ManuallyDrop,
    os::fd::FromRawFd as _,
    panic::{self, PanicHookInfo},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{self, SubscriberExt as _},
    registry::Registry,
    reload,
    util::SubscriberInitExt as _,
};

use self::{
    journal::{Journal, priority},
    record::Record,
    writer::{Queue, Sink, Stream},
};

/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a panic waits for its line: other threads may depend on this one.
const PANIC_PATIENCE: Duration = Duration::from_millis(100);

/// The log of this process, once it was started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    queue: Queue,
    filter: reload::Handle<EnvFilter, Registry>,
    /// What the command line or the environment asked for: comes before the configuration.
    asked: bool,
}

/// Starts the log. `asked` comes before `RUST_LOG`; both are directives such as `debug` or
/// `info,ogha_agent::net=trace`.
///
/// # Errors
/// When the directives are none, or the log was started already.
pub fn start(asked: Option<&str>) -> anyhow::Result<()> {
    let from_environment = env::var(EnvFilter::DEFAULT_ENV).ok();
    let (name, directives) = match (asked, from_environment.as_deref()) {
        (Some(filter), _) => ("--log", filter),
        (None, Some(filter)) if !filter.trim().is_empty() => (EnvFilter::DEFAULT_ENV, filter),
        (None, _) => ("", "info"),
    };
    let filter = filter(directives).context(name)?;
    let (filter, handle) = reload::Layer::new(filter);
    let queue = match Journal::connected() {
        Some(journal) => Queue::start(JournalSink { journal, fallback: stream() }),
        None => Queue::start(stream()),
    };
    let queue = queue.context("cannot start the log's thread")?;
    let lines = Lines(queue.clone());
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    started.map_err(|error| anyhow!("cannot start the log: {error}"))?;
    let _ = LOG.set(Log { queue, filter: handle, asked: !name.is_empty() });
    panic::set_hook(Box::new(report_panic));
    Ok(())
}

/// What directives mean.
///
/// # Errors
/// When they are none.
pub fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::builder().parse(directives);
    filter.map_err(|e| anyhow!("{directives:?} is no log filter ({e}); write for example debug"))
}

/// What is logged from now on, by the configuration; the command line and the environment come before it.
pub fn follow(directives: &str) {
    let Some(log) = LOG.get().filter(|log| !log.asked) else { return };
    let changed = filter(directives).and_then(|filter| Ok(log.filter.reload(filter)?));
    if let Err(e) = changed {
        error!("cannot change what is logged to {directives:?}: {e:#}");
    }
}

/// Writes the last words of a process whose log was started, and says whether it was. Text for people goes
/// to standard error as it is; the journal gets it as an error.
pub fn last_words(text: &str) -> bool {
    let Some(log) = LOG.get() else { return false };
    log.queue.put_text(text);
    log.queue.flush(PATIENCE);
    true
}

/// Waits a moment until what was logged is written.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.queue.flush(PATIENCE);
    }
}

/// The hook of the standard library would write, and might wait for ever.
fn report_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name").to_owned();
    let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let what = info.payload_as_str().unwrap_or("(no message)");
    error!("the thread {name} panicked{place}: {what}");
    if let Some(log) = LOG.get() {
        log.queue.flush(PANIC_PATIENCE);
    }
}

/// Each line goes into the queue.
struct Lines(Queue);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        self.0.put(Record::of(event));
    }
}

/// Standard error without its lock: a write that waits must not hold whoever else would write there.
struct Unlocked(ManuallyDrop<File>);

impl io::Write for Unlocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn stream() -> Stream<Unlocked> {
    // SAFETY: the standard library sees to it that descriptor 2 is open at the start, nothing closes
    // it, and this file is never dropped.
    let file = unsafe { File::from_raw_fd(libc::STDERR_FILENO) };
    Stream::new(Unlocked(ManuallyDrop::new(file)), stderr().is_terminal())
}

/// The journal's socket. Where it is not to be had a line goes to standard error, which the journal reads
/// too, with its priority before it.
struct JournalSink {
    journal: Journal,
    fallback: Stream<Unlocked>,
}

impl Sink for JournalSink {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.journal.send(record).or_else(|_| {
            let line = format!("<{}>{}\n", priority(record.level), record.text());
            self.fallback.write_text(&line)
        })
    }

    fn write_text(&mut self, text: &str) -> io::Result<()> {
        text.lines()
            .try_for_each(|line| self.write(&Record::new(Level::ERROR, module_path!(), line)))
    }
}
