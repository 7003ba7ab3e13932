//! What is done to a database, in which order, and what the core hears of it.

use ogha_common::units::Lsn;

use super::*;
use crate::run::fake::Fake;

struct Lanes {
    worker: DatabaseWorker,
    ports: Fake,
}

const PROMOTE: Job = Job::Database(Step::Promote);
const STOP: Job = Job::Database(Step::StopImmediate);
const CHECKPOINT: Job = Job::Database(Step::Checkpoint);

fn db2() -> NodeId {
    NodeId::of("db2")
}

fn did(order: Order, ok: bool) -> Input {
    Input::DatabaseDid { order, ok }
}

fn synchronize(names: &[&str]) -> Job {
    Job::Database(Step::Synchronize(names.iter().map(|&name| name.to_owned()).collect()))
}

impl Lanes {
    fn new() -> Self {
        let settings = Settings {
            instance: "VI_1".to_owned(),
            names: vec![(db2(), "db2".to_owned())],
            synchronous: true,
            demotion_timeout: Duration::from_secs(10),
            promotion_timeout: Duration::from_secs(60),
        };
        Self { worker: DatabaseWorker::new(settings), ports: Fake::default() }
    }

    fn order(&mut self, order: Order) -> Vec<Input> {
        let mut out = vec![];
        self.worker.order(order, &mut self.ports, &mut out);
        out
    }

    /// The job ends so.
    fn end(&mut self, job: &Job, result: Result<(), String>) -> Vec<Input> {
        let id = self.ports.take(|other| other == job);
        let mut out = vec![];
        self.worker.ended(id, End::Done(result), &mut self.ports, &mut out);
        out
    }

    /// The oldest observation ends: whether it counts, and what the core hears after it.
    fn observe(&mut self) -> (bool, Vec<Input>) {
        let id = self.ports.take(|job| *job == Job::Observe);
        let seen = Observation { lsn: Some(Lsn::new(7)), ..Observation::default() };
        let mut out = vec![];
        let counts = self.worker.ended(id, End::Observed(seen), &mut self.ports, &mut out);
        if counts.is_some() {
            self.worker.observed(&mut self.ports, &mut out);
        }
        (counts.is_some(), out)
    }

    fn pass(&mut self, ms: u64) -> Vec<Input> {
        self.ports.pass(ms);
        let mut out = vec![];
        self.worker.tick(self.ports.now(), &mut self.ports, &mut out);
        out
    }

    /// All jobs but observations.
    fn jobs(&self) -> Vec<Job> {
        self.ports.jobs().into_iter().filter(|job| *job != Job::Observe).collect()
    }
}

fn failed() -> Result<(), String> {
    Err("it does not answer".to_owned())
}

#[test]
fn orders_about_the_role_wait_for_each_other_and_the_setting_waits_for_none() {
    let mut lanes = Lanes::new();
    assert_eq!(lanes.order(Order::Checkpoint), []);
    assert_eq!(lanes.order(Order::Demote), []);
    assert_eq!(lanes.order(Order::Synchronize(NodeSet::of(db2()))), []);
    assert_eq!(lanes.jobs(), [CHECKPOINT, synchronize(&["db2"])]);
    assert_eq!(lanes.end(&CHECKPOINT, Ok(())), [did(Order::Checkpoint, true)]);
    let demote = Job::Database(Step::Demote(Duration::from_secs(10)));
    assert_eq!(lanes.jobs(), [synchronize(&["db2"]), demote]);
    let order = Order::Synchronize(NodeSet::of(db2()));
    assert_eq!(lanes.end(&synchronize(&["db2"]), Ok(())), [did(order, true)]);
}

#[test]
fn an_order_given_twice_is_carried_out_once() {
    let mut lanes = Lanes::new();
    for _ in 0..3 {
        lanes.order(Order::Checkpoint);
        lanes.order(Order::Demote);
    }
    assert_eq!(lanes.jobs().len(), 1);
    assert_eq!(lanes.end(&CHECKPOINT, Ok(())), [did(Order::Checkpoint, true)]);
    lanes.order(Order::Demote);
    assert_eq!(lanes.jobs().len(), 1);
}

#[test]
fn a_stop_waits_for_nothing_and_what_it_replaces_has_failed() {
    let mut lanes = Lanes::new();
    lanes.order(Order::Promote);
    lanes.order(Order::Follow(db2()));
    let told = lanes.order(Order::Stop);
    assert_eq!(told, [did(Order::Follow(db2()), false), did(Order::Promote, false)]);
    assert_eq!((lanes.jobs(), lanes.ports.aborted.clone()), (vec![STOP], vec![PROMOTE]));
    lanes.order(Order::Promote);
    assert_eq!(lanes.jobs(), [STOP], "a promotion waits for it");
    assert_eq!(lanes.end(&STOP, Ok(())), [did(Order::Stop, true)]);
    assert_eq!(lanes.jobs(), [PROMOTE]);
}

#[test]
fn a_promotion_replaces_a_rejoin_but_no_demotion() {
    let mut lanes = Lanes::new();
    lanes.order(Order::Rejoin(db2()));
    assert_eq!(lanes.order(Order::Promote), [did(Order::Rejoin(db2()), false)]);
    assert_eq!(lanes.jobs(), [PROMOTE]);
    let mut lanes = Lanes::new();
    lanes.order(Order::Demote);
    assert_eq!(lanes.order(Order::Promote), []);
    assert_eq!(lanes.jobs().len(), 1);
}

#[test]
fn of_the_settings_the_newest_counts() {
    let mut lanes = Lanes::new();
    let (both, none) = (NodeSet::of(db2()), NodeSet::EMPTY);
    lanes.order(Order::Synchronize(both));
    assert_eq!(lanes.order(Order::Synchronize(none)), [did(Order::Synchronize(both), false)]);
    assert_eq!(lanes.jobs(), [synchronize(&[])]);
}

#[test]
fn the_core_sees_a_promoted_database_before_it_hears_of_it() {
    let mut lanes = Lanes::new();
    lanes.worker.observe(&mut lanes.ports);
    lanes.order(Order::Promote);
    assert_eq!(lanes.end(&PROMOTE, Ok(())), []);
    assert_eq!(lanes.observe(), (false, vec![]), "what was seen before says nothing");
    assert_eq!(lanes.observe(), (true, vec![did(Order::Promote, true)]));
}

#[test]
fn an_observation_that_hangs_holds_up_no_outcome() {
    let mut lanes = Lanes::new();
    lanes.order(Order::Start);
    assert_eq!(lanes.end(&Job::Database(Step::Start(Duration::from_secs(60))), failed()), []);
    assert_eq!(lanes.pass(5000), [did(Order::Start, false)]);
}

#[test]
fn an_order_that_does_not_end_fails_by_its_deadline() {
    let mut lanes = Lanes::new();
    lanes.order(Order::Stop);
    assert_eq!(lanes.pass(29_999), []);
    assert_eq!(lanes.pass(1), [did(Order::Stop, false)]);
    assert_eq!(lanes.ports.aborted, [STOP]);
}

/// `alter system` that fails at once is not tried as fast as it fails.
#[test]
fn what_fails_again_and_again_is_tried_with_growing_pauses() {
    let mut lanes = Lanes::new();
    let order = Order::Synchronize(NodeSet::of(db2()));
    let mut tries = 0;
    let mut told = 0;
    lanes.order(order);
    for _ in 0..10_000 {
        if lanes.jobs().len() == 1 {
            tries += 1;
            told += lanes.end(&synchronize(&["db2"]), failed()).len();
            lanes.order(order);
        }
        while lanes.ports.jobs().contains(&Job::Observe) {
            lanes.observe();
        }
        lanes.pass(1);
    }
    assert!((5..=9).contains(&tries), "{tries} tries in 10 s");
    assert_eq!(told, tries, "each try has an outcome");
    lanes.order(Order::Synchronize(NodeSet::EMPTY));
    assert_eq!(lanes.jobs(), [synchronize(&[])], "another order does not pause");
}

#[test]
fn a_stop_does_not_wait_for_the_pause_of_another_order() {
    let mut lanes = Lanes::new();
    lanes.order(Order::Checkpoint);
    lanes.end(&CHECKPOINT, failed());
    lanes.order(Order::Checkpoint);
    assert_eq!(lanes.jobs(), []);
    assert_eq!(lanes.order(Order::Stop), [did(Order::Checkpoint, false)]);
    assert_eq!(lanes.jobs(), [STOP]);
}

#[test]
fn the_database_is_observed_now_and_then_and_when_something_happens() {
    let mut lanes = Lanes::new();
    lanes.worker.observe(&mut lanes.ports);
    lanes.worker.observe(&mut lanes.ports);
    assert_eq!(lanes.observe(), (true, vec![]));
    assert_eq!(lanes.observe(), (true, vec![]), "asked for while it was under way");
    assert!(lanes.ports.jobs().is_empty());
    let every = OBSERVE_EVERY.as_millis() as u64;
    lanes.pass(every - 1);
    assert!(lanes.ports.jobs().is_empty());
    lanes.pass(1);
    assert_eq!(lanes.ports.jobs(), [Job::Observe]);
}

#[test]
fn tools_are_told_again_till_they_know() {
    let mut lanes = Lanes::new();
    lanes.order(Order::AfterFailover);
    let tell = Job::Database(Step::AfterFailover);
    for _ in 1..TOOLS_TRIES {
        assert_eq!(lanes.end(&tell, failed()), []);
        assert_eq!(lanes.jobs(), []);
        lanes.pass(30_000);
    }
    lanes.end(&tell, failed());
    lanes.pass(30_000);
    assert_eq!(lanes.jobs(), [], "there is an end to it");
}
