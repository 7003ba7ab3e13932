//! The rules by which the arbiter is asked: at most one question of each kind at a time. A newer
//! proposal takes the place of an older one, for the answer to that would come too late. (What was
//! proposed may still be granted: the answer to the newer one shows it.) A question that leads to
//! nothing is repeated with growing pauses.

use std::time::Duration;

use ogha_common::{
    failover::{Input, Record, Ruling},
    units::Instant,
};

use super::{
    ports::{Answer, End, Job, JobId, Lane, Ports, Slot, no_end},
    retry::{Retry, Trouble},
};

/// When a question is given up. Each has a shorter limit of its own.
const LIMIT: Duration = Duration::from_secs(3);
/// How often the arbiter is asked whether it is there, so that people know before it is needed.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// A consultation that follows the last one so soon is a repetition.
const REPEATED: Duration = Duration::from_millis(500);
/// So often an unsuccessful question may be repeated before it has to pause.
const FREE: u32 = 3;

/// The arbiter of one instance, and what is known of it.
#[derive(Debug)]
pub struct ArbiterWorker {
    kind: &'static str,
    proposing: Slot,
    /// The record that was asked for last.
    asked: Option<Record>,
    waiting: Option<Record>,
    /// The record that was asked for last in vain, and how often.
    refused: Option<Record>,
    refusals: u32,
    refusal_retry: Retry,
    consulting: Slot,
    wanted: bool,
    consulted: Option<(Instant, Option<Record>)>,
    repetitions: u32,
    repetition_retry: Retry,
    trouble: Trouble,
    probing: Slot,
    probe_at: Option<Instant>,
    answers: Vec<Answer>,
}

impl ArbiterWorker {
    /// The worker of an arbiter of that kind: `none`, `gateway` or `etcd`.
    #[must_use]
    pub fn new(instance: &str, kind: &'static str) -> Self {
        Self {
            kind,
            proposing: Slot::new(Lane::Propose),
            asked: None,
            waiting: None,
            refused: None,
            refusals: 0,
            refusal_retry: Retry::default(),
            consulting: Slot::new(Lane::Consult),
            wanted: false,
            consulted: None,
            repetitions: 0,
            repetition_retry: Retry::default(),
            trouble: Trouble::new(instance, "read the cluster record at the arbiter"),
            probing: Slot::new(Lane::ProbeArbiter),
            probe_at: None,
            answers: vec![],
        }
    }

    /// `none`, `gateway` or `etcd`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Which of its parts answered lately; none before the first time, and of the kind `none`.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// Asks for a record.
    pub fn propose(&mut self, record: Record, ports: &mut impl Ports) {
        if self.asked == Some(record) && self.proposing.is_busy() {
            return;
        }
        self.proposing.abort(ports);
        self.asked = Some(record);
        self.waiting = Some(record);
        if self.refused != Some(record) {
            self.refused = None;
            self.refusals = 0;
            self.refusal_retry.succeeded();
        }
        self.go_on(ports);
    }

    /// Asks for the current record, until it is answered.
    pub fn consult(&mut self, ports: &mut impl Ports) {
        self.wanted = true;
        self.go_on(ports);
    }

    fn go_on(&mut self, ports: &mut impl Ports) {
        let now = ports.now();
        if self.refusal_retry.is_due(now)
            && let Some(record) = self.waiting.take()
        {
            self.proposing.start(LIMIT, Job::Propose(record), ports);
        }
        let may = self.trouble.retry.is_due(now) && self.repetition_retry.is_due(now);
        if may && !self.consulting.is_busy() && std::mem::take(&mut self.wanted) {
            self.consulting.start(LIMIT, Job::Consult, ports);
        }
    }

    /// A question has ended.
    pub fn ended(&mut self, id: JobId, end: End, ports: &mut impl Ports, out: &mut Vec<Input>) {
        match (id.lane, end) {
            (Lane::Propose, End::Ruled(ruling)) if self.proposing.ended(id) => {
                self.ruled(ruling, ports.now(), out);
            }
            (Lane::Consult, End::Consulted(result)) if self.consulting.ended(id) => {
                self.consulted(result, ports.now(), out);
            }
            (Lane::ProbeArbiter, End::Answered(answers)) if self.probing.ended(id) => {
                self.answers = answers;
                self.probe_at = Some(ports.now() + PROBE_EVERY);
            }
            _ => {}
        }
        self.go_on(ports);
    }

    fn ruled(&mut self, ruling: Ruling, now: Instant, out: &mut Vec<Input>) {
        if let Ruling::Granted(_) = ruling {
            self.refused = None;
            self.refusals = 0;
            self.refusal_retry.succeeded();
        } else {
            self.refused = self.asked;
            self.refusals = self.refusals.saturating_add(1);
            if self.refusals >= FREE {
                self.refusal_retry.failed(now);
            }
        }
        out.push(Input::Ruled(ruling));
    }

    fn consulted(
        &mut self,
        result: Result<Option<Record>, String>,
        now: Instant,
        out: &mut Vec<Input>,
    ) {
        match result {
            Err(reason) => {
                self.trouble.failed(now, &reason);
                self.wanted = true;
            }
            // Asked again meanwhile: the record may be another one by now.
            Ok(_) if self.wanted => self.trouble.worked(),
            Ok(record) => {
                self.trouble.worked();
                let soon = |at: Instant| now.since(at) < REPEATED + self.pause();
                if self.consulted.is_some_and(|(at, before)| before == record && soon(at)) {
                    self.repetitions = self.repetitions.saturating_add(1);
                    if self.repetitions >= FREE {
                        self.repetition_retry.failed(now);
                    }
                } else {
                    self.repetitions = 0;
                    self.repetition_retry.succeeded();
                }
                self.consulted = Some((now, record));
                out.push(Input::Consulted(record));
            }
        }
    }

    /// How long a repeated consultation pauses now.
    fn pause(&self) -> Duration {
        let at = self.consulted.map(|(at, _)| at);
        at.zip(self.repetition_retry.at()).map_or(Duration::ZERO, |(at, retry)| retry.since(at))
    }

    /// When [`ArbiterWorker::tick`] is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let propose = match self.proposing.deadline() {
            Some(deadline) => Some(deadline),
            None => self.refusal_retry.at().filter(|_| self.waiting.is_some()),
        };
        let consult = match self.consulting.deadline() {
            Some(deadline) => Some(deadline),
            None => {
                let due = self.trouble.retry.at().max(self.repetition_retry.at());
                due.filter(|_| self.wanted)
            }
        };
        let probe = self.probing.deadline().or(self.probe_at);
        [propose, consult, probe].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, ports: &mut impl Ports, out: &mut Vec<Input>) {
        if self.proposing.give_up(now, ports)
            && let Some(asked) = self.asked
        {
            self.ruled(Ruling::Unknown(asked.term), now, out);
        }
        if self.consulting.give_up(now, ports) {
            self.consulted(Err(no_end(LIMIT)), now, out);
        }
        if self.probing.give_up(now, ports) {
            self.answers.clear();
            self.probe_at = Some(now + PROBE_EVERY);
        }
        if self.probe_at.is_some_and(|at| now >= at) {
            self.probe(ports);
        }
        self.go_on(ports);
    }

    /// Begins to ask the arbiter now and then whether it is there.
    pub fn probe(&mut self, ports: &mut impl Ports) {
        self.probe_at = None;
        if self.kind != "none" {
            self.probing.start(PROBE_EVERY, Job::ProbeArbiter, ports);
        }
    }
}

#[cfg(test)]
mod tests {
    use ogha_common::{
        failover::NodeSet,
        units::{NodeId, Term},
    };

    use super::*;
    use crate::run::fake::Fake;

    fn record(term: u64) -> Record {
        let primary = NodeId::of("db1");
        Record { term: Term::new(term), primary, in_sync: NodeSet::of(primary) }
    }

    struct Arbiter {
        worker: ArbiterWorker,
        ports: Fake,
    }

    impl Arbiter {
        fn new() -> Self {
            Self { worker: ArbiterWorker::new("VI_1", "etcd"), ports: Fake::default() }
        }

        fn end(&mut self, id: JobId, end: End) -> Vec<Input> {
            let mut out = vec![];
            self.worker.ended(id, end, &mut self.ports, &mut out);
            out
        }

        fn tick(&mut self) -> Vec<Input> {
            let mut out = vec![];
            self.worker.tick(self.ports.now(), &mut self.ports, &mut out);
            out
        }
    }

    #[test]
    fn a_newer_proposal_replaces_an_older_one_and_its_late_answer_says_nothing() {
        let mut arbiter = Arbiter::new();
        arbiter.worker.propose(record(1), &mut arbiter.ports);
        let (first, _) = arbiter.ports.jobs_with_ids()[0].clone();
        arbiter.worker.propose(record(1), &mut arbiter.ports);
        assert_eq!(arbiter.ports.jobs().len(), 1, "the same question is not begun anew");
        arbiter.worker.propose(record(2), &mut arbiter.ports);
        assert_eq!(arbiter.ports.jobs(), [Job::Propose(record(2))]);
        assert_eq!(arbiter.end(first, End::Ruled(Ruling::Granted(Term::new(1)))), []);
        let (second, _) = arbiter.ports.take_job();
        let granted = Ruling::Granted(Term::new(2));
        assert_eq!(arbiter.end(second, End::Ruled(granted)), [Input::Ruled(granted)]);
        assert_eq!(arbiter.end(second, End::Ruled(granted)), [], "an answer counts once");
    }

    #[test]
    fn a_question_without_an_answer_ends() {
        let mut arbiter = Arbiter::new();
        arbiter.worker.propose(record(1), &mut arbiter.ports);
        arbiter.ports.pass(3000);
        assert_eq!(arbiter.tick(), [Input::Ruled(Ruling::Unknown(Term::new(1)))]);
        arbiter.worker.consult(&mut arbiter.ports);
        arbiter.ports.pass(3000);
        assert_eq!(arbiter.tick(), []);
        assert!(arbiter.ports.jobs().is_empty());
        arbiter.ports.pass(100);
        arbiter.tick();
        assert_eq!(arbiter.ports.jobs(), [Job::Consult], "it is asked again");
    }

    /// A store that says nonsense at once is not asked as fast as it answers.
    #[test]
    fn what_is_refused_again_and_again_is_asked_with_growing_pauses() {
        let mut arbiter = Arbiter::new();
        let mut questions = 0;
        for _ in 0..10_000 {
            // The core asks again as soon as it hears the answer.
            if arbiter.ports.jobs().is_empty() {
                arbiter.worker.propose(record(1), &mut arbiter.ports);
                arbiter.worker.consult(&mut arbiter.ports);
            }
            arbiter.ports.pass(1);
            arbiter.tick();
            for (id, job) in arbiter.ports.jobs_with_ids() {
                questions += 1;
                let end = match job {
                    Job::Propose(record) => End::Ruled(Ruling::Unknown(record.term)),
                    _ => End::Consulted(Ok(None)),
                };
                arbiter.ports.take_job();
                arbiter.end(id, end);
            }
        }
        assert!((10..=24).contains(&questions), "{questions} questions in 10 s");
        // Another record is another question.
        arbiter.worker.propose(record(2), &mut arbiter.ports);
        assert!(arbiter.ports.jobs().contains(&Job::Propose(record(2))));
    }

    #[test]
    fn a_record_that_is_asked_for_while_it_is_read_is_read_again() {
        let mut arbiter = Arbiter::new();
        arbiter.worker.consult(&mut arbiter.ports);
        arbiter.worker.consult(&mut arbiter.ports);
        let (id, _) = arbiter.ports.take_job();
        assert_eq!(arbiter.end(id, End::Consulted(Ok(Some(record(1))))), []);
        let (id, _) = arbiter.ports.take_job();
        let input = Input::Consulted(Some(record(2)));
        assert_eq!(arbiter.end(id, End::Consulted(Ok(Some(record(2))))), [input]);
        assert!(arbiter.ports.jobs().is_empty());
    }
}
