//! Many simulated runs, on all processors.

use std::{
    fmt,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{
    plan::{NAMES, Plan, Violation},
    world::World,
};

/// A run that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number.
    pub seed: u64,
    /// What went wrong.
    pub violation: Violation,
}

/// What became of the runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many there were.
    pub runs: u64,
    /// What happened in them.
    pub events: u64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// How often somebody had to start a database, to order a rejoin, to resume, to force.
    pub helped: [u64; 4],
    /// Those that went wrong.
    pub failures: Vec<Failure>,
}

impl Tally {
    fn add(&mut self, world: &World) {
        self.runs += 1;
        self.events += world.events;
        self.acknowledged += world.ledger.acknowledged.len() as u64;
        for (sum, helped) in self.helped.iter_mut().zip(world.people.helped) {
            *sum += helped;
        }
        if let Some(violation) = &world.ledger.violation {
            self.failures.push(Failure { seed: world.plan.seed, violation: violation.clone() });
        }
    }

    fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.acknowledged += other.acknowledged;
        for (sum, helped) in self.helped.iter_mut().zip(other.helped) {
            *sum += helped;
        }
        self.failures.extend(other.failures);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [start, rejoin, resume, force] = self.helped;
        write!(
            f,
            "{} runs, {} events, {} acknowledged writes; helped: start {start}, rejoin {rejoin}, \
             resume {resume}, force {force}; failed: {}",
            self.runs,
            self.events,
            self.acknowledged,
            self.failures.len()
        )
    }
}

/// Simulates one run.
pub fn check_one(plan: Plan) -> (Tally, Option<Violation>) {
    let mut world = World::new(plan, false);
    world.run();
    let mut tally = Tally::default();
    tally.add(&world);
    (tally, world.ledger.violation)
}

/// Simulates the runs of these seeds as `make` plans them, till so many have failed.
pub fn run(seeds: Range<u64>, enough: usize, make: impl Fn(u64) -> Plan + Sync) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let whole = Mutex::new(Tally::default());
    let found = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || found.load(Ordering::Relaxed) >= enough as u64 {
                        break;
                    }
                    let mut world = World::new(make(seed), false);
                    world.run();
                    if world.ledger.violation.is_some() {
                        found.fetch_add(1, Ordering::Relaxed);
                    }
                    tally.add(&world);
                }
                whole.lock().unwrap_or_else(|e| e.into_inner()).merge(tally);
            });
        }
    });
    let mut tally = whole.into_inner().unwrap_or_else(|e| e.into_inner());
    tally.failures.sort_by_key(|failure| failure.seed);
    tally
}

/// The run in full, for a person to read.
pub fn trace(plan: Plan) -> String {
    let mut text = format!("seed {}: {:?}\n", plan.seed, plan.setting);
    let ids = plan.setting.ids();
    let mut world = World::new(plan, true);
    world.run();
    let lines = world.scribe.map(|scribe| scribe.lines.take());
    for mut line in lines.unwrap_or_default() {
        for (id, name) in ids.iter().zip(NAMES) {
            line = line.replace(&format!("NodeId({})", id.get()), name);
        }
        for (long, short) in
            [(", None", ""), ("None, ", ""), ("NodeSet { nodes: ", ""), ("] }", "]")]
        {
            line = line.replace(long, short);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}
