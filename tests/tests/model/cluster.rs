//! The cluster as a state machine: states, choices, and what must never be.

use ogha_common::{
    failover::{NodeSet, Record, Ruling},
    maps::Passage,
    units::Term,
};
use stateright::{Checker as _, HasDiscoveries, Model, Property};

use super::node::{Broken, Datagram, Node, ids};

/// How long a cut lasts, in steps.
const CUT: u64 = 8;

/// What is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Parcel {
    /// A probe or a reply, to that node.
    Datagram(usize, Datagram),
    /// That node asks the arbiter for this record.
    Propose(usize, Record),
    /// That node asks the arbiter what stands.
    Consult(usize),
}

/// What happens next. All but the first of each kind are adversities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// The agent runs.
    Run,
    /// It does not, in this step.
    Pause,
    /// It dies, and comes back two steps later.
    Die,
    /// Its host loses power, and comes back four steps later.
    PowerOff,
    /// Its database dies, then it runs.
    LoseDatabase,
    /// What the host sends reaches nobody for eight steps; it runs.
    Cut,
    /// Nor does it hear anything.
    Isolate,
    /// The parcel arrives, and its answer too.
    Arrive,
    /// It does not arrive.
    GetLost,
    /// It arrives a step later.
    ComeLate,
    /// It arrives, and its answer gets lost.
    LoseAnswer,
}

/// The cluster at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    step: u64,
    nodes: [Node; 2],
    store: Record,
    /// What was sent in the step before, and what comes in the next.
    parcels: Vec<Parcel>,
    later: Vec<Parcel>,
    /// Whose turn it is: the nodes, then the parcels.
    turn: usize,
    adversities: u8,
    /// Until when what a node sends is lost.
    cut_until: [u64; 2],
    promoted_against_the_rules: bool,
}

/// A pair with its bounds.
#[derive(Clone, Debug)]
pub struct Cluster {
    steps: u64,
    adversities: u8,
    broken: Option<Broken>,
}

impl Cluster {
    /// Schedules of so many steps with so many adversities.
    pub fn new(steps: u64, adversities: u8) -> Self {
        Self { steps, adversities, broken: None }
    }

    /// The same with cores that break that rule.
    pub fn breaking(self, rule: Broken) -> Self {
        Self { broken: Some(rule), ..self }
    }
}

impl State {
    fn open(&self) -> usize {
        self.nodes.iter().filter(|node| node.passage(self.step) == Passage::Open).count()
    }

    fn spend(&mut self) {
        self.adversities -= 1;
    }

    /// A node's turn.
    fn act(&mut self, place: usize, choice: Choice) {
        let step = self.step;
        let node = &mut self.nodes[place];
        match choice {
            Choice::Pause => return self.spend(),
            Choice::Die => {
                node.die(step + 2);
                return self.spend();
            }
            Choice::PowerOff => {
                node.power_off(step + 4);
                return self.spend();
            }
            Choice::LoseDatabase => {
                node.lose_database(step);
                self.spend();
            }
            Choice::Cut => {
                self.cut_until[place] = step + CUT;
                self.spend();
            }
            Choice::Isolate => {
                self.cut_until = [step + CUT; 2];
                self.spend();
            }
            _ => {}
        }
        let peer = self.nodes[1 - place].database;
        let node = &mut self.nodes[place];
        let mut sent = vec![];
        let promoted = node.run(step, peer, &mut sent);
        if promoted {
            let record = node.core.as_ref().and_then(|core| core.record());
            let other_open = self.nodes[1 - place].passage(step) == Passage::Open;
            self.promoted_against_the_rules |= record != Some(self.store) || other_open;
        }
        self.later.extend(sent);
    }

    fn is_cut(&self, parcel: &Parcel) -> bool {
        matches!(parcel, Parcel::Datagram(to, _) if self.cut_until[1 - *to] > self.step)
    }

    /// A parcel's turn.
    fn pass_on(&mut self, parcel: Parcel, choice: Choice) {
        if self.is_cut(&parcel) {
            return;
        }
        match choice {
            Choice::GetLost => {
                self.spend();
                if let Parcel::Propose(place, record) = parcel {
                    self.nodes[place].hear_ruling(Ruling::Unknown(record.term));
                } else if let Parcel::Consult(_) = parcel {
                    self.later.push(parcel);
                }
                return;
            }
            Choice::ComeLate => {
                self.spend();
                if let Parcel::Propose(place, record) = parcel {
                    // Whoever asks has given up waiting by then.
                    self.nodes[place].hear_ruling(Ruling::Unknown(record.term));
                }
                return self.later.push(parcel);
            }
            _ => {}
        }
        match parcel {
            Parcel::Datagram(place, datagram) => {
                let reply = self.nodes[place].receive(self.step, &datagram);
                self.later.extend(reply.map(|reply| Parcel::Datagram(1 - place, reply)));
            }
            Parcel::Propose(place, record) => {
                if self.store.term.next() == record.term {
                    self.store = record;
                }
                let ruling = if self.store == record {
                    Ruling::Granted(record.term)
                } else {
                    Ruling::Refused { term: record.term, record: Some(self.store) }
                };
                if choice == Choice::LoseAnswer {
                    self.spend();
                    self.nodes[place].hear_ruling(Ruling::Unknown(record.term));
                } else {
                    self.nodes[place].hear_ruling(ruling);
                }
            }
            Parcel::Consult(place) => self.nodes[place].consulted(self.store),
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Choice;

    fn init_states(&self) -> Vec<State> {
        let ids = ids();
        let all = NodeSet::of(ids[0]).with(ids[1]);
        let record = Record { term: Term::new(1), primary: ids[0], in_sync: all };
        let nodes = std::array::from_fn(|place| Node::new(place, record, self.broken));
        vec![State {
            step: 0,
            nodes,
            store: record,
            parcels: vec![],
            later: vec![],
            turn: 0,
            adversities: self.adversities,
            cut_until: [0; 2],
            promoted_against_the_rules: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Choice>) {
        if state.step >= self.steps {
            return;
        }
        let may = state.adversities > 0;
        if state.turn < 2 {
            actions.push(Choice::Run);
            let node = &state.nodes[state.turn];
            if may && node.core.is_some() {
                actions.extend([Choice::Pause, Choice::Die, Choice::PowerOff, Choice::Cut]);
                if state.turn == 0 {
                    actions.push(Choice::Isolate);
                }
                if node.database.is_some() {
                    actions.push(Choice::LoseDatabase);
                }
            }
        } else {
            actions.push(Choice::Arrive);
            if may && !state.parcels.first().is_some_and(|parcel| state.is_cut(parcel)) {
                actions.extend([Choice::GetLost, Choice::ComeLate]);
                if matches!(state.parcels.first(), Some(Parcel::Propose(..))) {
                    actions.push(Choice::LoseAnswer);
                }
            }
        }
    }

    fn next_state(&self, before: &State, choice: Choice) -> Option<State> {
        let mut state = before.clone();
        if state.turn < 2 {
            let place = state.turn;
            state.turn += 1;
            state.act(place, choice);
        } else if !state.parcels.is_empty() {
            let parcel = state.parcels.remove(0);
            state.pass_on(parcel, choice);
        }
        if state.turn == 2 && state.parcels.is_empty() {
            state.step += 1;
            state.turn = 0;
            state.parcels = std::mem::take(&mut state.later);
            // Parcels come after the agents' turns of the same step.
            if state.parcels.is_empty() {
                return Some(state);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two open gates", |_, state: &State| state.open() < 2),
            Property::always("no promotion against the rules", |_, state: &State| {
                !state.promoted_against_the_rules
            }),
            Property::sometimes("the standby takes over", |_, state: &State| {
                state.nodes[1].passage(state.step) == Passage::Open
            }),
        ]
    }
}

/// Goes through all of it; how many states there are.
pub fn check(cluster: Cluster) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = cluster.checker().threads(threads).spawn_dfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// Whether a broken rule is found out.
pub fn finds(cluster: Cluster) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = cluster.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_dfs().join();
    checker.discoveries().keys().any(|name| !name.starts_with("the standby"))
}
