//! A pair that has much to do and nothing that fails: how often is its database taken for hung?

use std::{
    fmt::{self, Display},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{alarms::Alarms, load::Load, pgbench, report::Results};
use crate::lab::{
    Pair,
    agent::Settings,
    clock,
    pair::{FIRST, GENEROUS, VIP},
    postgres::Postgres,
};

const OFTEN: Duration = Duration::from_millis(20);
/// Sessions that sort, more than their memory holds.
const SORTS: usize = 2;
const SORT: &str = "set work_mem = '1MB'; select count(*) from \
    (select md5(i::text) from generate_series(1, 500000) as i order by 1 offset 0) as sorted";
/// Between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// How long, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of work.
    pub time: Duration,
    /// Busy loops meanwhile.
    pub loops: usize,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    alarms: Alarms,
    checkpoints: usize,
    sorts: usize,
    transactions_a_second: f64,
    log: String,
}

/// Works for so long.
///
/// # Errors
/// If the pair does not come to work, or the database fails at it.
pub fn run(plan: Plan) -> Result<Report> {
    let settings = Settings { agent_timeout: Duration::from_secs(3), ..Settings::default() };
    let pair = Pair::start("bench-calm", &settings)?;
    pgbench::initialize(&pair, FIRST)?;
    let before = Alarms::of(&pair)?;
    let over = AtomicBool::new(false);
    let database = &pair.nodes[0].database;
    let (rate, checkpoints, sorts) = thread::scope(|scope| {
        let _load = Load::start(plan.loops, None);
        let checkpoints = scope.spawn(|| repeat(database, "checkpoint", CHECKPOINT_EVERY, &over));
        let sorts: Vec<_> = (0..SORTS)
            .map(|_| scope.spawn(|| repeat(database, SORT, Duration::ZERO, &over)))
            .collect();
        let rate = pgbench::writes(&pair, VIP, plan.time.as_secs().max(1));
        over.store(true, Ordering::Relaxed);
        let count = |work: thread::ScopedJoinHandle<'_, Result<usize>>| {
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        let sorts: Result<Vec<usize>> = sorts.into_iter().map(count).collect();
        anyhow::Ok((rate, count(checkpoints)?, sorts?.iter().sum()))
    })?;
    let alarms =
        clock::wait_until("the agents to answer", GENEROUS, OFTEN, || Alarms::of(&pair).map(Some))?
            .since(before);
    let log = if alarms == Alarms::default() { String::new() } else { pair.agents_last_words() };
    let transactions_a_second = rate.with_context(|| log.clone())?;
    Ok(Report { plan, alarms, checkpoints, sorts, transactions_a_second, log })
}

/// Asks that again and again; returns how often.
fn repeat(database: &Postgres, query: &str, every: Duration, over: &AtomicBool) -> Result<usize> {
    let session = database.session()?;
    let mut count = 0;
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if Instant::now() < next {
            thread::sleep(OFTEN);
            continue;
        }
        next = Instant::now() + every;
        session.rows(query)?;
        count += 1;
    }
    Ok(count)
}

impl Results for Report {
    /// `{"calm":{"seconds":..,"loops":..,"transactions_a_second":..,"checkpoints":..,"sorts":..,
    /// "hung":..,"suspect":..,"failovers":..}}`.
    fn json(&self) -> Value {
        let Self { plan, alarms, checkpoints, sorts, transactions_a_second, .. } = self;
        json!({
            "calm": {
                "seconds": plan.time.as_secs(),
                "loops": plan.loops,
                "transactions_a_second": transactions_a_second.round(),
                "checkpoints": checkpoints,
                "sorts": sorts,
                "hung": alarms.hung,
                "suspect": alarms.suspect,
                "failovers": alarms.term,
            },
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, alarms, checkpoints, sorts, transactions_a_second, log } = self;
        let (seconds, loops) = (plan.time.as_secs(), plan.loops);
        let Alarms { hung, suspect, term } = alarms;
        writeln!(
            f,
            "| time | busy loops | transactions a second | checkpoints | sorts | found hung | lasting suspicions | failovers |"
        )?;
        writeln!(f, "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
        write!(
            f,
            "| {seconds} s | {loops} | {transactions_a_second:.0} | {checkpoints} | {sorts} | {hung} | {suspect} | {term} |"
        )?;
        if !log.is_empty() {
            write!(f, "\n\n{log}")?;
        }
        Ok(())
    }
}
