//! The table of transitions, from the code itself: cores to which everything happens at random, and
//! each change of a phase that any of them shows.
//!
//! `OGHA_UPDATE=1` writes the table anew; read the difference before you commit it.

use std::{
    collections::{BTreeSet, VecDeque},
    format,
    string::String,
};

use super::*;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/failover/transitions.txt");
const CORES: u64 = 60_000;
const INPUTS: u64 = 400;
const THIRD: NodeId = NodeId::new(3);

/// xorshift64*: the same table on each machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Explorer {
    random: Random,
    core: Core,
    now: Instant,
    outcomes: VecDeque<Input>,
    /// Nobody says anything for a while.
    quiet: bool,
    /// Most effects fail for a while.
    fails: bool,
    seen: BTreeSet<Transition>,
}

impl Explorer {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed * 2 + 1);
        for _ in 0..8 {
            random.below(2);
        }
        let arbiter = random.one_of(&[Arbiter::None, Arbiter::Gateway, Arbiter::Etcd]);
        let three = random.chance(50);
        let (restart_attempts, rejoin) = (random.below(2) as u8, random.chance(50));
        let node = Node::with(|config| {
            config.arbiter = arbiter;
            if three {
                config.nodes = NodeSet::new(&[ME, PEER, THIRD]).unwrap();
            }
            config.restart_attempts = restart_attempts;
            config.rejoin = rejoin;
            config.promotion_timeout = Duration::from_secs(20);
        });
        let (outcomes, seen) = (VecDeque::new(), BTreeSet::new());
        Self { random, core: node.core, now: node.now, outcomes, quiet: false, fails: false, seen }
    }

    fn input(&mut self, input: Input) {
        let mut actions = vec![];
        self.core.handle(self.now, input, &mut |action| actions.push(action));
        self.carry_out(actions);
    }

    /// Most effects succeed, some fail, some are never heard of.
    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            let often = if self.fails { 70 } else { 6 };
            let (fails, silent) = (self.random.chance(often), self.random.chance(3));
            let outcome = match action {
                Action::Entered(transition) => {
                    self.seen.insert(transition);
                    continue;
                }
                Action::SetGate { order, .. } if fails && order != GateOrder::Close => {
                    Input::GateFailed(order)
                }
                Action::SetGate { order, .. } => Input::GateSet(order),
                Action::SetGranters(set) => Input::GrantersSet(set),
                Action::Withdraw => Input::Withdrawn { granted_until: self.now + LEASE },
                Action::Propose(record) if fails => Input::Ruled(Ruling::Unknown(record.term)),
                Action::Propose(Record { term, .. }) if self.random.chance(6) => {
                    let record = self.random.chance(50).then(|| self.record(term));
                    Input::Ruled(Ruling::Refused { term, record })
                }
                Action::Propose(record) => Input::Ruled(Ruling::Granted(record.term)),
                Action::Consult => Input::Consulted(self.core.record()),
                Action::Persist(record) if fails => Input::PersistFailed(record.term),
                Action::Persist(record) => Input::Persisted(record.term),
                Action::HoldAddresses => Input::AddressesHeld,
                // Rare, and wanted: a database that starts and then refuses its settings.
                Action::Database(order @ Order::Synchronize(_))
                    if self.core.phase() == PhaseName::Restarting =>
                {
                    Input::DatabaseDid { order, ok: self.random.chance(20) }
                }
                Action::Database(order) => Input::DatabaseDid { order, ok: !fails },
                _ => continue,
            };
            if !silent {
                self.outcomes.push_back(outcome);
            }
        }
    }

    fn record(&mut self, above: Term) -> Record {
        let primary = self.random.one_of(&[ME, PEER, PEER]);
        let term = Term::new(above.get() + self.random.below(3));
        let in_sync =
            self.random.one_of(&[NodeSet::of(primary), NodeSet::of(primary).with(ME).with(PEER)]);
        Record { term, primary, in_sync }
    }

    fn status(&mut self) -> probe::Status {
        let Record { term, primary, in_sync } = match self.core.record() {
            Some(record) if self.random.chance(85) => record,
            _ => {
                let term = self.core.term();
                self.record(term)
            }
        };
        let phase = self.random.one_of(&[
            probe::Phase::Listening,
            probe::Phase::Standby,
            probe::Phase::Standby,
            probe::Phase::TakingOver,
            probe::Phase::Serving,
            probe::Phase::Fenced,
        ]);
        let serves = phase == probe::Phase::Serving;
        let named = if serves && self.random.chance(50) { PEER } else { primary };
        probe::Status {
            primary: Some(named),
            in_sync: in_sync.members(),
            role: self.random.one_of(&[Role::Standby, Role::Standby, Role::Primary, Role::Unknown]),
            priority: Priority::new(self.random.one_of(&[50, 200])),
            paused: self.random.chance(1),
            hung: self.random.chance(5),
            ..status(phase, term.get())
        }
    }

    fn database(&mut self) -> Database {
        let peers = NodeSet::of(PEER);
        match self.random.below(12) {
            0 => Database::Unknown,
            1 => Database::Unresponsive,
            2 => Database::Stopped,
            3..=6 => Database::Standby { lsn: Lsn::new(7), receives: self.random.chance(50) },
            7 => Database::Primary(Primary::default()),
            8 => PRIMARY,
            _ => primary(peers, peers),
        }
    }

    fn command(&mut self) {
        let command = self.random.one_of(&[
            Command::Switchover { to: None },
            Command::Force,
            Command::Pause,
            Command::Resume,
            Command::Resume,
            Command::Rejoin,
        ]);
        let mut actions = vec![];
        let _ = self.core.command(self.now, command, &mut |action| actions.push(action));
        self.carry_out(actions);
    }

    fn step(&mut self) {
        let node = if self.random.chance(80) { PEER } else { THIRD };
        let at = self.now;
        let term = self.core.term();
        if let (Some(outcome), true) = (self.outcomes.front().copied(), self.random.chance(60)) {
            self.outcomes.pop_front();
            return self.input(outcome);
        }
        match self.random.below(40) {
            0..=9 => {
                let due = self.core.next_timer().unwrap_or(self.now);
                self.now = self.now.max(due);
                self.input(Input::Polled { at: self.now });
                self.input(Input::Tick);
            }
            10..=12 => {
                let longest = if self.quiet { 5000 } else { 200 };
                self.now = self.now + Duration::from_millis(self.random.below(longest));
                self.input(Input::Polled { at: self.now });
            }
            13..=18 | 32 if self.quiet => {}
            13..=18 => {
                let status = self.status();
                self.input(Input::Peer { node, status, at });
            }
            19..=25 => {
                let database = self.database();
                self.input(Input::Database(database));
            }
            26 => self.input(Input::Answered { node, agent_age: AGENT_TIMEOUT * 2, holds: false }),
            27 => self.input(Input::Answered { node, agent_age: Duration::ZERO, holds: true }),
            28 | 29 => self.input(Input::Unanswered { node }),
            30 | 31 => self.input(Input::Granted { node, term, until: at + LEASE }),
            32 => {
                let (priority, interval) = (Priority::DEFAULT, Centis::new(1).unwrap());
                let source = [192, 0, 2, 2].into();
                let advert = election::Advert { priority, interval, source };
                self.input(Input::Advert { node, advert });
            }
            33 => self.input(Input::AdvertStamped { node, at }),
            34 => self.input(process_exit(at)),
            35 if self.random.chance(30) => self.input(Input::HangOver),
            35 => self.input(Input::DatabaseHung { at }),
            36 if self.random.chance(20) => self.lose_the_gate(),
            // Rare, and soon over: a phase does not change by it.
            38 if self.random.chance(20) => {
                let danger = self.random.chance(40).then_some(crate::profile::Danger::OtherNode);
                self.input(Input::Contradiction(danger));
            }
            37 if self.random.chance(20) => self.input(Input::Stalled(LEASE * 2)),
            _ => self.command(),
        }
    }

    fn lose_the_gate(&mut self) {
        let unguarded = self.now.ns() & 4 == 0;
        self.input(Input::Risen);
        self.input(if unguarded { Input::Unguarded } else { Input::Lapsed });
        self.input(Input::Guarded);
    }

    fn run(mut self) -> BTreeSet<Transition> {
        let record = self.random.chance(60).then(|| self.record(Term::new(4)));
        let open = record.map(|record| record.term).filter(|_| self.random.chance(50));
        let handed_over = self.random.chance(5);
        self.input(Input::Started { record, open, marks: Marks { paused: false, handed_over } });
        for step in 0..INPUTS {
            if step % 40 == 0 {
                self.quiet = self.random.chance(40);
                self.fails = self.random.chance(10);
            }
            self.step();
        }
        self.seen
    }
}

fn table(seen: &BTreeSet<Transition>) -> String {
    let mut text = format!("{:<28} {:<24} {:<28} {}\n", "phase", "input", "next phase", "why");
    for Transition { from, input, to, why } in seen {
        text += &format!("{from:<28} {input:<24} {to:<28} {why}\n");
    }
    text
}

#[test]
fn the_table_of_transitions_is_what_the_code_does() {
    let mut seen = BTreeSet::new();
    for seed in 0..CORES {
        seen.append(&mut Explorer::new(seed).run());
    }
    for why in Why::ALL {
        assert!(seen.iter().any(|transition| transition.why == *why), "no core ever shows {why:?}");
    }
    let found = table(&seen);
    if std::env::var_os("OGHA_UPDATE").is_some() {
        std::fs::write(TABLE, &found).unwrap();
    }
    let written = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(
        found == written,
        "the table is out of date: run this test with OGHA_UPDATE=1\n{found}"
    );
}

/// Whoever holds the gate leaves by `Closing` alone, and nobody opens but from the last step.
#[test]
fn an_open_gate_is_left_by_closing_alone() {
    for seed in 0..CORES {
        for Transition { from, to, .. } in Explorer::new(seed).run() {
            if from == PhaseName::Serving {
                assert!(matches!(to, PhaseName::Closing | PhaseName::Restarting), "{from} -> {to}");
            }
            if to == PhaseName::Serving {
                assert!(
                    matches!(from, PhaseName::Initial | PhaseName::Opening | PhaseName::Restarting),
                    "{from} -> {to}"
                );
            }
            let claims = matches!(
                from,
                PhaseName::Claiming
                    | PhaseName::Promoting
                    | PhaseName::Opening
                    | PhaseName::Restarting
            );
            let stays = matches!(
                to,
                PhaseName::Promoting | PhaseName::Opening | PhaseName::Serving | PhaseName::Closing
            );
            assert!(!claims || stays, "{from} -> {to}");
        }
    }
}
