//! Which test starts next: what a test asks of the machine decides what it may run beside.

use std::collections::VecDeque;

/// What a test asks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It computes, mostly for milliseconds.
    Unit,
    /// It builds a lab, and waits more than it computes: several run at a time.
    Scenario,
    /// It computes on all processors for long: one at a time, at low priority.
    Heavy,
    /// It loads the machine on purpose: nothing runs beside it.
    Alone,
}

impl Class {
    /// In the order in which they are offered a place.
    pub const ALL: [Self; 4] = [Self::Unit, Self::Scenario, Self::Heavy, Self::Alone];

    /// Does it make hosts out of network namespaces?
    pub const fn needs_root(self) -> bool {
        matches!(self, Self::Scenario | Self::Alone)
    }

    const fn index(self) -> usize {
        match self {
            Self::Unit => 0,
            Self::Scenario => 1,
            Self::Heavy => 2,
            Self::Alone => 3,
        }
    }
}

/// How many tests of a class run at a time.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// Unit tests: as many as there are processors.
    pub units: usize,
    /// Scenarios.
    pub scenarios: usize,
}

/// The tests that wait, and how many run.
#[derive(Debug)]
pub struct Queue<T> {
    places: Places,
    waiting: [VecDeque<T>; Class::ALL.len()],
    running: [usize; Class::ALL.len()],
}

impl<T> Queue<T> {
    /// Nothing waits and nothing runs.
    pub fn new(places: Places) -> Self {
        Self { places, waiting: Default::default(), running: Default::default() }
    }

    /// One more waits.
    pub fn push(&mut self, class: Class, test: T) {
        self.waiting[class.index()].push_back(test);
    }

    /// The next to start now; it counts as running until [`ended`](Self::ended). `None` if each of
    /// those that wait has to wait on.
    pub fn next(&mut self) -> Option<(Class, T)> {
        let class = Class::ALL.into_iter().find(|class| self.may_start(*class))?;
        let test = self.waiting[class.index()].pop_front()?;
        self.running[class.index()] += 1;
        Some((class, test))
    }

    /// One of those that ran has ended.
    pub fn ended(&mut self, class: Class) {
        self.running[class.index()] -= 1;
    }

    /// All that still wait; afterwards none does.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting.iter_mut().flat_map(std::mem::take)
    }

    fn may_start(&self, class: Class) -> bool {
        let running = |class: Class| self.running[class.index()];
        let waits = |class: Class| !self.waiting[class.index()].is_empty();
        let others = [Class::Unit, Class::Scenario, Class::Heavy];
        waits(class)
            && running(Class::Alone) == 0
            && match class {
                Class::Unit => running(class) < self.places.units,
                Class::Scenario => running(class) < self.places.scenarios,
                Class::Heavy => running(class) == 0,
                // Last, so that nothing else has to stop for it.
                Class::Alone => {
                    others.into_iter().all(|other| running(other) == 0 && !waits(other))
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::{Class::*, *};

    fn queue(tests: &[(Class, usize)]) -> Queue<usize> {
        let mut queue = Queue::new(Places { units: 2, scenarios: 3 });
        for &(class, count) in tests {
            (0..count).for_each(|at| queue.push(class, at));
        }
        queue
    }

    fn started(queue: &mut Queue<usize>) -> Vec<(Class, usize)> {
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn each_class_has_its_places_and_its_order() {
        let mut queue = queue(&[(Alone, 1), (Heavy, 2), (Scenario, 5), (Unit, 4)]);
        let first = [(Unit, 0), (Unit, 1), (Scenario, 0), (Scenario, 1), (Scenario, 2), (Heavy, 0)];
        assert_eq!(started(&mut queue), first);
        queue.ended(Scenario);
        assert_eq!(started(&mut queue), [(Scenario, 3)]);
        queue.ended(Heavy);
        assert_eq!(started(&mut queue), [(Heavy, 1)]);
    }

    #[test]
    fn what_runs_alone_waits_for_all_others_and_nothing_starts_beside_it() {
        let mut queue = queue(&[(Alone, 2), (Heavy, 1)]);
        assert_eq!(started(&mut queue), [(Heavy, 0)]);
        queue.ended(Heavy);
        assert_eq!(started(&mut queue), [(Alone, 0)]);
        queue.push(Unit, 7);
        assert_eq!(started(&mut queue), []);
        queue.ended(Alone);
        assert_eq!(started(&mut queue), [(Unit, 7)], "the other one waits again");
    }

    /// Every test starts exactly once, whatever ends when.
    #[test]
    fn all_start_in_the_end() {
        let mut queue = queue(&[(Alone, 2), (Heavy, 2), (Scenario, 7), (Unit, 9)]);
        let (mut running, mut count) = (VecDeque::new(), 0);
        loop {
            running.extend(std::iter::from_fn(|| queue.next()));
            // The last that started ends first, then the first, in turn.
            let ended = if count % 2 == 0 { running.pop_back() } else { running.pop_front() };
            let Some((class, _)) = ended else { break };
            queue.ended(class);
            count += 1;
        }
        assert_eq!(count, 20);
    }

    #[test]
    fn what_never_started_is_known() {
        let mut queue = queue(&[(Alone, 1), (Scenario, 5)]);
        started(&mut queue);
        assert_eq!(queue.drain().count(), 3);
        assert_eq!(queue.drain().count(), 0);
    }
}
