//! A client that writes without pause and writes down what was acknowledged, and when.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use ogha_common::units::Instant;
use tokio::{net::TcpStream, time};
use tokio_postgres::Client;

use super::{
    Host, Postgres, clock,
    postgres::PORT,
    sql::{self, TABLE},
};

/// How patient the client is. The defaults are those of one that wants the shortest outage.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a TCP connection: a lost SYN costs this much, not the kernel's second.
    pub connect: Duration,
    /// For the server's greeting, and for each write. Doubled after each time-out, so that a busy
    /// machine is not mistaken for a dead server for ever.
    pub answer: Duration,
    /// Between a refusal and the next attempt.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self { connect: millis(20), answer: millis(40), pause: millis(2) }
    }
}

const LONGEST_ANSWER: Duration = Duration::from_secs(2);

/// Why a write was not acknowledged, or a connection not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// RST in answer to a SYN.
    Refused,
    /// RST, or the end of the stream, on an open connection.
    Reset,
    /// No answer to a SYN.
    ConnectTimeout,
    /// No answer on an open connection. The write may have happened.
    AnswerTimeout,
    /// The server is a standby (SQLSTATE 25006).
    ReadOnly,
    /// The server starts or stops (SQLSTATE class 57P).
    Unavailable,
    /// No route, no link.
    Network,
    /// Anything else.
    Other,
}

/// A write that the server acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The row's id; ids grow, and one that failed is never tried again.
    pub id: i64,
    /// When the acknowledgement was here.
    pub at: Instant,
}

/// What a writer has seen.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// In the order of time and of ids.
    pub acknowledged: Vec<Acknowledged>,
    /// How often what went wrong.
    pub failures: BTreeMap<Failure, u64>,
    /// Each failure with its time.
    pub failed_at: Vec<(Instant, Failure)>,
}

impl Record {
    /// How long the client was without service because of a fault at `fault`: the longest time
    /// between two acknowledgements, from the last before the fault on. `None` if none came
    /// before it or none after.
    #[must_use]
    pub fn outage(&self, fault: Instant) -> Option<Duration> {
        let first_after = self.acknowledged.partition_point(|write| write.at <= fault);
        let around = self.acknowledged.get(first_after.checked_sub(1)?..)?;
        around.windows(2).map(|pair| pair[1].at.since(pair[0].at)).max()
    }

    /// The acknowledged ids that are not in the table of `database`.
    ///
    /// # Errors
    /// If the database does not answer.
    pub fn lost(&self, database: &Postgres) -> Result<Vec<i64>> {
        let rows = database.session()?.rows(&format!("select id from {TABLE} order by id"))?;
        let mut kept = std::collections::BTreeSet::new();
        for id in rows.into_iter().flatten().flatten() {
            kept.insert(id.parse::<i64>().with_context(|| format!("{id} is no id"))?);
        }
        let ids = self.acknowledged.iter().map(|write| write.id);
        Ok(ids.filter(|id| !kept.contains(id)).collect())
    }
}

/// A thread on a client host that writes until it is stopped or dropped.
#[derive(Debug)]
pub struct Writer {
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    /// Begins to write to the server at `server` from `client`.
    #[must_use]
    pub fn start(client: &Arc<Host>, server: IpAddr, patience: Patience) -> Self {
        let record = Arc::<Mutex<Record>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let address = SocketAddr::new(server, PORT);
        let client = Arc::clone(client);
        let work = Work { address, patience, record: Arc::clone(&record), stop: Arc::clone(&stop) };
        let thread = thread::spawn(move || client.namespace().enter(move || work.run()));
        Self { record, stop, thread: Some(thread) }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Waits until `count` more writes are acknowledged.
    ///
    /// # Errors
    /// If they are not before the deadline; the error tells what went wrong meanwhile.
    pub fn wait_for(&self, count: usize, deadline: Duration) -> Result<()> {
        let target = lock(&self.record).acknowledged.len() + count;
        clock::wait_until("acknowledged writes", deadline, Duration::from_millis(2), || {
            let record = lock(&self.record);
            ensure!(record.acknowledged.len() >= target, "failures so far {:?}", record.failures);
            Ok(Some(()))
        })
    }

    /// Stops it; returns all that it has seen.
    ///
    /// # Errors
    /// If it could not work at all.
    pub fn stop(mut self) -> Result<Record> {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        }
        Ok(self.record())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Work {
    address: SocketAddr,
    patience: Patience,
    record: Arc<Mutex<Record>>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut state = State { next_id: 1, answer: self.patience.answer };
            while !self.stopped() {
                let failure = self.connection(&mut state).await;
                if let Err(failure) = failure {
                    self.failed(failure, &mut state).await;
                }
            }
        });
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// One connection, from its SYN to its failure.
    async fn connection(&self, state: &mut State) -> Result<(), Failure> {
        let stream = time::timeout(self.patience.connect, TcpStream::connect(self.address))
            .await
            .map_err(|_| Failure::ConnectTimeout)?
            .map_err(|error| of_io(&error, Failure::Refused))?;
        let _ = stream.set_nodelay(true);
        let client = time::timeout(state.answer, sql::log_in(stream))
            .await
            .map_err(|_| Failure::AnswerTimeout)?
            .map_err(|error| of_sql(&error))?;
        while !self.stopped() {
            self.write(&client, state).await?;
        }
        Ok(())
    }

    async fn write(&self, client: &Client, state: &mut State) -> Result<(), Failure> {
        let id = state.next_id;
        state.next_id += 1;
        let insert = format!("insert into {TABLE} values ({id})");
        time::timeout(state.answer, client.simple_query(&insert))
            .await
            .map_err(|_| Failure::AnswerTimeout)?
            .map_err(|error| of_sql(&error))?;
        state.answer = self.patience.answer;
        lock(&self.record).acknowledged.push(Acknowledged { id, at: clock::now() });
        Ok(())
    }

    async fn failed(&self, failure: Failure, state: &mut State) {
        {
            let mut record = lock(&self.record);
            *record.failures.entry(failure).or_default() += 1;
            record.failed_at.push((clock::now(), failure));
        }
        match failure {
            Failure::ConnectTimeout => {}
            Failure::AnswerTimeout => state.answer = (state.answer * 2).min(LONGEST_ANSWER),
            _ => time::sleep(self.patience.pause).await,
        }
    }
}

struct State {
    next_id: i64,
    /// The present patience for an answer.
    answer: Duration,
}

fn of_io(error: &std::io::Error, otherwise: Failure) -> Failure {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Failure::Refused,
        Kind::ConnectionReset | Kind::BrokenPipe | Kind::UnexpectedEof => Failure::Reset,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown => Failure::Network,
        _ => otherwise,
    }
}

fn of_sql(error: &tokio_postgres::Error) -> Failure {
    if let Some(state) = error.code() {
        return match state.code() {
            "25006" => Failure::ReadOnly,
            code if code.starts_with("57P") => Failure::Unavailable,
            _ => Failure::Other,
        };
    }
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(error) => of_io(error, Failure::Other),
        None if error.is_closed() => Failure::Reset,
        None => Failure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(times_ms: &[u64]) -> Record {
        let acknowledged = times_ms
            .iter()
            .enumerate()
            .map(|(id, ms)| Acknowledged { id: id as i64, at: Instant::from_ns(ms * 1_000_000) })
            .collect();
        Record { acknowledged, ..Record::default() }
    }

    #[test]
    fn the_outage_begins_before_the_fault_and_ends_after_it() {
        // An acknowledgement that was under way when the fault struck does not shorten it.
        let writes = record(&[0, 500, 990, 1001, 1150, 1152]);
        let fault = |ms: u64| writes.outage(Instant::from_ns(ms * 1_000_000));
        assert_eq!(fault(1000), Some(Duration::from_millis(149)));
        assert_eq!(fault(600), Some(Duration::from_millis(490)));
        assert_eq!(fault(1152), None, "nothing after");
        assert_eq!(record(&[5]).outage(Instant::from_ns(0)), None, "nothing before");
    }
}
