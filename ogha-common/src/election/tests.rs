//! The whole transition table, the arithmetic, random operations, and routers on one wire.

extern crate std;
use std::{format, string::String, vec, vec::Vec};

use proptest::prelude::*;

use super::{
    Action::{ActiveDown, Announce, BecameActive, BecameBackup, SendAdvert},
    *,
};

const RELEASE: Priority = Priority::RELEASE;
const OWN: Priority = Priority::new(100);
/// The own interval is 1 s, the other router's 2 s.
const INTERVAL: Centis = Centis::ONE_SECOND;
const START: Instant = Instant::from_ns(10_000_000_000);
/// When the input of the table comes in.
const NOW: Instant = Instant::from_ns(10_500_000_000);

fn centis(number: u16) -> Centis {
    Centis::new(number).unwrap()
}

fn config() -> Config {
    Config {
        priority: OWN,
        advert_interval: INTERVAL,
        preempt: true,
        version: Version::V3,
        address: [192, 0, 2, 5].into(),
    }
}

fn advert(priority: u8, host: u8) -> Input {
    let source = [192, 0, 2, host].into();
    Input::Advert(Advert { priority: Priority::new(priority), interval: centis(200), source })
}

fn run(election: &mut Election, now: Instant, input: Input) -> Vec<Action> {
    let mut actions = vec![];
    election.handle(now, input, &mut |action| actions.push(action));
    actions
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Begin {
    Initialize,
    Backup,
    Active,
}

fn election(from: Begin, config: Config, eligible: bool) -> Election {
    let mut election = Election::new(config);
    if from != Begin::Initialize {
        run(&mut election, START, Input::Startup);
    }
    if from == Begin::Active {
        run(&mut election, START, Input::Take);
    }
    election.set_eligible(eligible);
    election
}

fn backup(after: Duration, interval: u16) -> State {
    State::Backup { active_down_at: NOW + after, active_adver_interval: centis(interval) }
}

fn active(after: Duration) -> State {
    State::Active { adver_at: NOW + after }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// `Skew_Time` of priority 100 at 1 s and at 2 s.
const SKEW_1S: Duration = Duration::from_micros(609_375);
const SKEW_2S: Duration = Duration::from_micros(1_218_750);

const BACKUP_UNTOUCHED: fn() -> State = || backup(ms(2500) + SKEW_1S, 100);
const BACKUP_AFRESH: fn() -> State = || backup(ms(3000) + SKEW_1S, 100);
const BACKUP_LEARNT: fn() -> State = || backup(ms(6000) + SKEW_2S, 200);
const BACKUP_SKEW: fn() -> State = || backup(SKEW_1S, 100);
const ACTIVE_UNTOUCHED: fn() -> State = || active(ms(500));
const ACTIVE_AFRESH: fn() -> State = || active(ms(1000));
const INITIALIZE: fn() -> State = || State::Initialize;

const TAKES: &[Action] = &[SendAdvert(OWN), Announce, BecameActive];
const YIELDS: &[Action] = &[SendAdvert(RELEASE), BecameBackup];
const ASSERTS: &[Action] = &[SendAdvert(OWN)];

/// Where it is, what comes in, what it orders, where it ends.
type Row = (Begin, Input, &'static [Action], fn() -> State);

#[test]
fn the_transition_table() {
    use Begin::{Active, Backup, Initialize};
    let rows: &[Row] = &[
        // RFC 9568 section 6.4.1
        (Initialize, Input::Startup, &[BecameBackup], BACKUP_AFRESH),
        (Initialize, Input::Shutdown, &[], INITIALIZE),
        (Initialize, Input::Tick, &[], INITIALIZE),
        (Initialize, advert(0, 9), &[], INITIALIZE),
        (Initialize, advert(200, 9), &[], INITIALIZE),
        (Initialize, Input::Take, &[], INITIALIZE),
        (Initialize, Input::Release, &[], INITIALIZE),
        // Section 6.4.2
        (Backup, Input::Startup, &[], BACKUP_UNTOUCHED),
        (Backup, Input::Shutdown, &[], INITIALIZE),
        (Backup, Input::Tick, &[], BACKUP_UNTOUCHED),
        (Backup, advert(0, 9), &[], BACKUP_SKEW),
        (Backup, advert(101, 1), &[], BACKUP_LEARNT),
        (Backup, advert(100, 9), &[], BACKUP_LEARNT),
        (Backup, advert(100, 1), &[], BACKUP_LEARNT),
        (Backup, advert(99, 9), &[], BACKUP_UNTOUCHED),
        (Backup, Input::Take, TAKES, ACTIVE_AFRESH),
        (Backup, Input::Release, &[], BACKUP_UNTOUCHED),
        // Section 6.4.3
        (Active, Input::Startup, &[], ACTIVE_UNTOUCHED),
        (Active, Input::Shutdown, &[SendAdvert(RELEASE)], INITIALIZE),
        (Active, Input::Tick, &[], ACTIVE_UNTOUCHED),
        (Active, advert(0, 9), ASSERTS, ACTIVE_AFRESH),
        (Active, advert(101, 1), &[BecameBackup], BACKUP_LEARNT),
        (Active, advert(100, 6), &[BecameBackup], BACKUP_LEARNT),
        (Active, advert(100, 5), ASSERTS, ACTIVE_UNTOUCHED),
        (Active, advert(100, 4), ASSERTS, ACTIVE_UNTOUCHED),
        (Active, advert(99, 9), ASSERTS, ACTIVE_UNTOUCHED),
        (Active, Input::Take, &[], ACTIVE_UNTOUCHED),
        (Active, Input::Release, YIELDS, BACKUP_AFRESH),
    ];
    for (from, input, actions, state) in rows {
        let mut election = election(*from, config(), true);
        assert_eq!(run(&mut election, NOW, *input), *actions, "{from:?} {input:?}");
        assert_eq!(election.state(), state(), "{from:?} {input:?}");
    }
}

#[test]
fn timers_that_are_due_fire() {
    let mut election = election(Begin::Backup, config(), true);
    let due = election.next_timer().unwrap();
    assert_eq!(due, START + ms(3000) + SKEW_1S);
    assert_eq!(run(&mut election, due - Duration::from_nanos(1), Input::Tick), []);
    assert_eq!(run(&mut election, due, Input::Tick), TAKES);
    assert_eq!(election.state(), State::Active { adver_at: due + ms(1000) });
    assert_eq!(run(&mut election, due + ms(999), Input::Tick), []);
    assert_eq!(run(&mut election, due + ms(1000), Input::Tick), ASSERTS);
    assert_eq!(election.next_timer(), Some(due + ms(2000)));
}

#[test]
fn late_ticks_neither_add_up_nor_are_made_up_for() {
    let mut election = election(Begin::Active, config(), true);
    assert_eq!(run(&mut election, START + ms(1300), Input::Tick), ASSERTS);
    assert_eq!(election.next_timer(), Some(START + ms(2000)));
    assert_eq!(run(&mut election, START + ms(9700), Input::Tick), ASSERTS);
    assert_eq!(election.next_timer(), Some(START + ms(10_700)));
}

#[test]
fn an_advert_comes_before_a_late_tick() {
    let mut election = election(Begin::Backup, config(), true);
    let late = START + ms(60_000);
    assert_eq!(run(&mut election, late, advert(200, 9)), []);
    assert_eq!(run(&mut election, late, Input::Tick), [], "silence was heard where there was none");
}

#[test]
fn without_preemption_a_lower_router_stays() {
    let calm = Config { preempt: false, ..config() };
    let mut election = election(Begin::Backup, calm, true);
    assert_eq!(run(&mut election, NOW, advert(1, 1)), []);
    assert_eq!(election.state(), BACKUP_LEARNT());
    // Preemption is about backups; two active routers still have to agree (section 6.4.3).
    let mut election = self::election(Begin::Active, calm, true);
    assert_eq!(run(&mut election, NOW, advert(99, 9)), ASSERTS);
    assert!(election.is_active());
}

#[test]
fn the_owner_is_active_at_once_and_listens_to_nobody() {
    let mut election = Election::new(Config { priority: Priority::OWNER, ..config() });
    let takes = [SendAdvert(Priority::OWNER), Announce, BecameActive];
    assert_eq!(run(&mut election, NOW, Input::Startup), takes);
    assert_eq!(election.state(), ACTIVE_AFRESH());
    assert_eq!(run(&mut election, NOW, advert(255, 9)), []);
    assert_eq!(run(&mut election, NOW, advert(0, 9)), []);
    assert_eq!(election.state(), ACTIVE_AFRESH());
}

#[test]
fn version_2_has_one_interval_and_discards_quietly() {
    let old = Config { version: Version::V2, ..config() };
    let mut backup = election(Begin::Backup, old, true);
    assert_eq!(run(&mut backup, NOW, advert(200, 9)), []);
    assert_eq!(backup.state(), BACKUP_AFRESH());
    let mut active = election(Begin::Active, old, true);
    assert_eq!(run(&mut active, NOW, advert(99, 9)), []);
    assert_eq!(run(&mut active, NOW, advert(200, 9)), [BecameBackup]);
    assert_eq!(active.state(), BACKUP_AFRESH());
    // The skew is a part of a second, whatever the interval is (RFC 3768 section 6.1).
    let slow = Config { advert_interval: centis(500), ..old };
    let election = election(Begin::Backup, slow, true);
    assert_eq!(election.next_timer(), Some(START + ms(15_000) + SKEW_1S));
}

#[test]
fn the_interval_of_the_active_router_is_learnt_and_lost_with_it() {
    let mut election = election(Begin::Backup, config(), true);
    run(&mut election, START, advert(200, 9));
    let silent = START + ms(6000) + SKEW_2S;
    assert_eq!(election.next_timer(), Some(silent));
    assert_eq!(run(&mut election, silent, Input::Tick), TAKES);
    assert_eq!(election.next_timer(), Some(silent + ms(1000)), "adverts go at the own interval");
    // Priority 0 is answered within the skew of the interval last heard.
    let mut election = self::election(Begin::Backup, config(), true);
    run(&mut election, START, advert(200, 9));
    run(&mut election, NOW, advert(0, 9));
    assert_eq!(election.state(), self::backup(SKEW_2S, 200));
}

#[test]
fn not_eligible_reports_the_silence_and_watches_on() {
    let mut election = election(Begin::Backup, config(), false);
    let due = START + ms(3000) + SKEW_1S;
    assert_eq!(run(&mut election, due, Input::Tick), [ActiveDown]);
    let again = due + ms(3000) + SKEW_1S;
    assert_eq!(election.next_timer(), Some(again));
    assert_eq!(run(&mut election, again, Input::Tick), [ActiveDown]);
    // By order it does take the role, and keeps it.
    assert_eq!(run(&mut election, again, Input::Take), TAKES);
    assert_eq!(run(&mut election, again + ms(1000), Input::Tick), ASSERTS);
}

#[test]
fn not_eligible_hears_lower_routers_too() {
    let mut election = election(Begin::Backup, config(), false);
    assert_eq!(run(&mut election, NOW, advert(1, 1)), []);
    assert_eq!(election.state(), BACKUP_LEARNT());
}

#[test]
fn not_eligible_at_the_start_even_the_owner_waits() {
    let mut election = Election::new(Config { priority: Priority::OWNER, ..config() });
    election.set_eligible(false);
    assert_eq!(run(&mut election, NOW, Input::Startup), [BecameBackup]);
}

#[test]
fn a_changed_priority_counts_from_the_next_advert_on() {
    let mut active = election(Begin::Active, config(), true);
    active.set_priority(Priority::new(50));
    let sent = run(&mut active, START + ms(1000), Input::Tick);
    assert_eq!(sent, [SendAdvert(Priority::new(50))]);
    assert_eq!(run(&mut active, START + ms(1000), advert(51, 1)), [BecameBackup]);
}

#[test]
fn the_skew_tells_backups_apart_at_ten_milliseconds() {
    let fast = |priority| Config { advert_interval: centis(1), priority, ..config() };
    let due = |priority| {
        election(Begin::Backup, fast(Priority::new(priority)), true).next_timer().unwrap()
    };
    assert_eq!(due(100), START + Duration::from_nanos(30_000_000 + 6_093_750));
    assert!(due(254) < due(253) && due(253) < due(1));
}

fn any_config() -> impl Strategy<Value = Config> {
    (1..=255u8, 1..=300u16, any::<bool>(), any::<bool>(), any::<[u8; 4]>()).prop_map(
        |(priority, interval, preempt, third, address)| Config {
            priority: Priority::new(priority),
            advert_interval: centis(interval),
            preempt,
            version: if third { Version::V3 } else { Version::V2 },
            address: address.into(),
        },
    )
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Input(Input),
    TickAtTimer,
    Eligible(bool),
    Priority(u8),
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let advert = (any::<u8>(), 1..=4095u16, any::<[u8; 4]>()).prop_map(|(rank, interval, from)| {
        let priority = Priority::new(rank);
        Input::Advert(Advert { priority, interval: centis(interval), source: from.into() })
    });
    prop_oneof![
        4 => advert.prop_map(Operation::Input),
        4 => Just(Operation::TickAtTimer),
        1 => Just(Operation::Input(Input::Tick)),
        1 => Just(Operation::Input(Input::Take)),
        1 => Just(Operation::Input(Input::Release)),
        1 => Just(Operation::Input(Input::Startup)),
        1 => Just(Operation::Input(Input::Shutdown)),
        1 => any::<bool>().prop_map(Operation::Eligible),
        1 => (1..=255u8).prop_map(Operation::Priority),
    ]
}

/// What must hold after any step.
fn check(before: &Election, after: &Election, now: Instant, actions: &[Action]) -> Option<String> {
    let config = after.config;
    let wrong = match after.state() {
        State::Initialize => false,
        State::Active { adver_at } => adver_at > now + config.advert_interval.duration(),
        State::Backup { active_down_at, active_adver_interval } => {
            // Four intervals, or where version 2's second is longer, three and that.
            active_down_at
                > now
                    + active_adver_interval.duration() * 3
                    + active_adver_interval.max(INTERVAL).duration()
        }
    };
    if wrong {
        return Some(format!("a timer is too far away: {:?}", after.state()));
    }
    if after.next_timer().is_none() != (after.state() == State::Initialize) {
        return Some("a timer is missing".into());
    }
    // The role is told exactly when it changes, and taken only with an announcement.
    let told_active = actions.contains(&BecameActive);
    if told_active != (!before.is_active() && after.is_active()) {
        return Some(format!("active is told wrongly: {actions:?}"));
    }
    if told_active != actions.contains(&Announce) {
        return Some(format!("announced wrongly: {actions:?}"));
    }
    let began = before.state() == State::Initialize;
    let is_backup = matches!(after.state(), State::Backup { .. });
    if actions.contains(&BecameBackup) != (is_backup && (began || before.is_active())) {
        return Some(format!("backup is told wrongly: {actions:?}"));
    }
    None
}

proptest! {
    #[test]
    fn random_operations_keep_the_invariants(
        config in any_config(),
        operations in proptest::collection::vec((any_operation(), 0..3000u64), 0..200),
    ) {
        let mut election = Election::new(config);
        let mut now = START;
        for (operation, wait) in operations {
            let before = election.clone();
            let actions = match operation {
                Operation::Input(input) => {
                    now = now + ms(wait);
                    run(&mut election, now, input)
                }
                Operation::TickAtTimer => {
                    now = election.next_timer().unwrap_or(now).max(now);
                    run(&mut election, now, Input::Tick)
                }
                Operation::Eligible(eligible) => {
                    election.set_eligible(eligible);
                    vec![]
                }
                Operation::Priority(rank) => {
                    election.set_priority(Priority::new(rank));
                    vec![]
                }
            };
            let wrong = check(&before, &election, now, &actions);
            prop_assert!(wrong.is_none(), "{:?}: {}", operation, wrong.unwrap_or_default());
            if !before.eligible && election.is_active() && !before.is_active() {
                prop_assert!(matches!(operation, Operation::Input(Input::Take)));
            }
        }
    }

    /// Whatever they are and wherever they begin, two of them active or none, routers that hear
    /// each other end with one active router.
    #[test]
    fn routers_on_one_wire_agree(
        routers in proptest::collection::vec((any_config(), 0..5000u64, 0..3u8), 2..4),
        delay_us in 0..900u64,
        third: bool,
    ) {
        let mut wire = Wire::new(routers, Duration::from_micros(delay_us), third);
        wire.run_until(START + ms(120_000));
        prop_assert_eq!(wire.active().len(), 1, "{:?}", wire.routers);
    }

    /// When the active router falls silent, one of the others takes its place.
    #[test]
    fn the_silence_of_the_active_router_is_noticed(
        routers in proptest::collection::vec((any_config(), 0..5000u64, 0..3u8), 3..5),
    ) {
        let mut wire = Wire::new(routers, ms(0), true);
        wire.run_until(START + ms(120_000));
        let lost = wire.active()[0];
        wire.routers.remove(lost);
        wire.pending.clear();
        wire.run_until(START + ms(240_000));
        prop_assert_eq!(wire.active().len(), 1, "{:?}", wire.routers);
    }
}

/// Routers on a virtual clock and a wire that loses nothing.
struct Wire {
    now: Instant,
    delay: Duration,
    routers: Vec<Election>,
    /// Arrival, sender's address, advert.
    pending: Vec<(Instant, Advert)>,
}

impl Wire {
    /// Each router begins at its own time, or takes the role at once if its last number is 0.
    fn new(routers: Vec<(Config, u64, u8)>, delay: Duration, third: bool) -> Self {
        let mut wire = Self { now: START, delay, routers: vec![], pending: vec![] };
        for (i, (mut config, after, kind)) in routers.into_iter().enumerate() {
            // One wire has one version, in version 2 one interval, and addresses are unique. An
            // owner hears nobody: there is at most one, and the others are not allowed to be.
            config.address = [192, 0, 2, i as u8].into();
            config.version = if third { Version::V3 } else { Version::V2 };
            if !third {
                config.advert_interval = INTERVAL;
            }
            if i > 0 {
                config.priority = config.priority.min(Priority::HIGHEST);
            }
            let mut election = Election::new(config);
            let begin = START + ms(after);
            election.handle(begin, Input::Startup, &mut |_| {});
            if kind == 0 {
                election.handle(begin, Input::Take, &mut |_| {});
            }
            wire.routers.push(election);
        }
        wire
    }

    fn active(&self) -> Vec<usize> {
        (0..self.routers.len()).filter(|&i| self.routers[i].is_active()).collect()
    }

    fn run_until(&mut self, end: Instant) {
        while self.now < end {
            let timers = self.routers.iter().filter_map(Election::next_timer);
            let next = timers.chain(self.pending.iter().map(|&(at, _)| at)).min().unwrap_or(end);
            self.now = next.max(self.now);
            let now = self.now;
            let arrived: Vec<Advert> =
                self.pending.extract_if(.., |&mut (at, _)| at <= now).map(|(_, a)| a).collect();
            for i in 0..self.routers.len() {
                for advert in &arrived {
                    if advert.source != self.routers[i].config.address {
                        self.input(i, Input::Advert(*advert));
                    }
                }
                self.input(i, Input::Tick);
            }
        }
    }

    fn input(&mut self, router: usize, input: Input) {
        let Config { address: source, advert_interval: interval, .. } = self.routers[router].config;
        for action in run(&mut self.routers[router], self.now, input) {
            if let SendAdvert(priority) = action {
                let advert = Advert { priority, interval, source };
                self.pending.push((self.now + self.delay, advert));
            }
        }
    }
}
