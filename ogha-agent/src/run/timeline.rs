//! The event timeline of a failover: its cause, its steps and its end.

use std::{fmt::Display, time::Duration};

use ogha_common::{
    failover::{Cause, Outcome, Step},
    units::{Instant, Term},
};

/// A timeline that has ended. A router without a database has causes, steps and outcomes of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline<C = Cause, S = Step, O = Outcome> {
    /// Why it began.
    pub cause: C,
    /// The steps, and how long after the first sign each was taken.
    pub steps: Vec<(S, Duration)>,
    /// How long it took from the first sign on.
    pub took: Duration,
    /// The term that it ended in.
    pub term: Term,
    /// How it ended.
    pub outcome: O,
}

/// One that has not ended.
#[derive(Debug)]
pub struct Begun<C = Cause, S = Step> {
    cause: C,
    first_sign: Instant,
    steps: Vec<(S, Duration)>,
}

impl<C, S> Begun<C, S> {
    /// A timeline begins.
    #[must_use]
    pub fn new(cause: C, first_sign: Instant) -> Self {
        Self { cause, first_sign, steps: Vec::new() }
    }

    /// A step was taken.
    pub fn step(&mut self, step: S, now: Instant) {
        self.steps.push((step, now.since(self.first_sign)));
    }

    /// It ends.
    #[must_use]
    pub fn end<O>(self, term: Term, outcome: O, now: Instant) -> Timeline<C, S, O> {
        let took = now.since(self.first_sign);
        Timeline { cause: self.cause, steps: self.steps, took, term, outcome }
    }
}

/// A timeline in the words of people.
pub type Told = Timeline<String, String, String>;

impl<C: Display, S: Display, O: Display> Timeline<C, S, O> {
    /// In words.
    #[must_use]
    pub fn told(&self) -> Told {
        Timeline {
            cause: self.cause.to_string(),
            steps: self.steps.iter().map(|(step, after)| (step.to_string(), *after)).collect(),
            took: self.took,
            term: self.term,
            outcome: self.outcome.to_string(),
        }
    }
}

impl Told {
    /// Whether it ended with this node serving.
    #[must_use]
    pub fn served(&self) -> bool {
        self.outcome == "serving"
    }

    /// Whether both failed in the same way: nothing new is to be learnt from the second.
    #[must_use]
    pub fn repeats(&self, before: &Self) -> bool {
        let steps = |of: &Self| of.steps.iter().map(|(step, _)| step.clone()).collect::<Vec<_>>();
        !self.served()
            && self.outcome == before.outcome
            && self.cause == before.cause
            && steps(self) == steps(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(cause: Cause, steps: &[Step], outcome: Outcome, ms: u64) -> Told {
        let at = |ms: u64| Instant::from_ns(ms * 1_000_000);
        let mut begun = Begun::new(cause, at(ms));
        (1..).zip(steps).for_each(|(i, &step)| begun.step(step, at(ms + i)));
        begun.end(Term::new(ms), outcome, at(ms + 10)).told()
    }

    #[test]
    fn a_failure_of_the_same_kind_repeats_the_one_before() {
        let steps = [Step::GrantExpired];
        let first = timeline(Cause::Forced, &steps, Outcome::Standby, 5);
        assert!(timeline(Cause::Forced, &steps, Outcome::Standby, 90).repeats(&first));
        for other in [
            timeline(Cause::Bootstrap, &steps, Outcome::Standby, 90),
            timeline(Cause::Forced, &[], Outcome::Standby, 90),
            timeline(Cause::Forced, &steps, Outcome::Fenced, 90),
        ] {
            assert!(!other.repeats(&first));
        }
        let served = timeline(Cause::Forced, &steps, Outcome::Serving, 5);
        assert!(!served.repeats(&served), "a failover always counts");
    }
}
