//! What takes time, and is done beside the agent's loop: the disk, the database, the addresses, the
//! arbiter. Each job takes a while, may fail, and may have its effect though it is reported as failed.

use ogha_agent::{
    database::{Observation, Process, Replication, Step, Upstream},
    run::{
        message::Message,
        ports::{End, Job, JobId},
    },
};
use ogha_common::{
    detector::CheckOutcome as Outcome,
    failover::{Arbiter, Role, Ruling},
    maps::{EVENT_LISTENER_GONE, EVENT_LISTENER_UP, EVENT_PROCESS_EXIT, Event as Seen},
    units::{Lsn, NodeId},
};

use super::{
    MAX,
    clock::MS,
    plan::NAMES,
    world::{Event, World},
};

/// How long a database that hangs is waited for: for the answer to a query, and to a check.
const SQL_TIMEOUT: u64 = 300 * MS;
const CHECK_TIMEOUT: u64 = 200 * MS;
/// How late an observation is where they are late.
const VERY_LATE: u64 = 2000 * MS;
/// How often a write that hangs is looked at.
const HANGS: u64 = 50 * MS;

impl World {
    /// An agent has started a job.
    pub fn start_job(&mut self, node: usize, life: u32, id: JobId, job: Job) {
        if matches!(job, Job::Propose(_) | Job::Consult | Job::Database(_) | Job::Save(_)) {
            self.check_pace(node);
        }
        let takes = match &job {
            Job::Observe => return self.start_observation(node, life, id),
            Job::Propose(_) | Job::Consult => return self.ask_arbiter(node, life, id, job),
            Job::Check(of) => return self.check_database(node, life, id, *of),
            Job::ProbeArbiter | Job::CheckDisk => MS,
            Job::Write => {
                self.nodes[node].writing_since = Some(self.now);
                self.random.between(1, 10) * MS
            }
            Job::HoldAddresses(_) => self.random.between(1, 20) * MS,
            Job::Save(_) | Job::SaveMarks(_) if self.random.permille(30) => 120 * MS,
            Job::Save(_) | Job::SaveMarks(_) => self.random.between(1, 12) * MS,
            Job::Database(step) => {
                let (first, last) = duration(step);
                self.random.between(first, last) * MS
            }
        };
        if let Job::Database(Step::Promote) = job {
            self.check_promotion(node);
        }
        if let Job::Database(Step::Promote | Step::Start(_)) = job {
            self.nodes[node].ordered_at = Some(self.now);
        }
        let boot = self.nodes[node].boot;
        self.queue.push(self.now + takes, Event::Work { node, life, boot, id, job });
    }

    /// A job has its effect, and its agent hears of it, if it is still there.
    pub fn work(&mut self, node: usize, life: u32, boot: u32, id: JobId, job: Job) {
        let host = &self.nodes[node];
        let lives = host.running == Some(life);
        if host.boot != boot || !host.up || lives && !host.jobs.contains(&id) {
            return;
        }
        let end = match job {
            Job::Observe => End::Observed(self.observation(node)),
            Job::Save(_) | Job::SaveMarks(_) | Job::CheckDisk if host.disk_hangs => {
                let at = self.now + HANGS;
                return self.queue.push(at, Event::Work { node, life, boot, id, job });
            }
            Job::Save(_) | Job::SaveMarks(_) if host.disk_full => {
                End::Done(Err("no space left".to_owned()))
            }
            Job::Save(record) => {
                self.nodes[node].saved = Some(record);
                End::Done(Ok(()))
            }
            Job::SaveMarks(marks) => {
                self.nodes[node].marks = marks;
                End::Done(Ok(()))
            }
            Job::Database(step) => End::Done(self.step(node, &step)),
            Job::Write => {
                let database = &host.database;
                if lives && database.running && (database.hung || database.stuck) {
                    let at = self.now + HANGS;
                    return self.queue.push(at, Event::Work { node, life, boot, id, job });
                }
                let done = database.writes();
                if lives {
                    self.nodes[node].writing_since = None;
                }
                End::Wrote(if done { Ok(true) } else { Err("it does not write".to_owned()) })
            }
            Job::CheckDisk if host.disk_full => End::Kept(Err("no space left".to_owned())),
            Job::CheckDisk => End::Kept(Ok(true)),
            Job::ProbeArbiter => End::Answered(vec![]),
            _ => End::Done(Ok(())),
        };
        self.end_job(node, life, id, end);
    }

    /// A job has ended: its agent hears of it, once.
    pub fn end_job(&mut self, node: usize, life: u32, id: JobId, end: End) {
        let host = &mut self.nodes[node];
        if host.running == Some(life) && host.jobs.contains(&id) {
            host.jobs.retain(|&other| other != id);
            self.send(node, life, Message::Ended(id, end));
        }
    }

    fn step(&mut self, node: usize, step: &Step) -> Result<(), String> {
        let fails = if self.nodes[node].orders_fail { 700 } else { 15 };
        let fails = self.random.permille(fails);
        // Some of what is reported as failed has happened all the same.
        let happens = !fails || self.random.permille(400);
        let done = happens && self.obey(node, step);
        if *step == Step::StopImmediate {
            self.nodes[node].stop_failed = !done;
        }
        let ok = done && !fails;
        self.note(|| format!("{}'s database: {step:?}: done {done}, reported {ok}", NAMES[node]));
        if ok { Ok(()) } else { Err("it could not be done".to_owned()) }
    }

    /// Whether the database obeyed the order.
    fn obey(&mut self, node: usize, step: &Step) -> bool {
        match step {
            Step::Promote => {
                let database = &mut self.nodes[node].database;
                let may = database.receives();
                if may {
                    database.promote();
                }
                may || database.writes()
            }
            Step::StopImmediate => {
                self.check_stop(node);
                self.stop_database(node);
                true
            }
            Step::Checkpoint | Step::AfterFailover => self.nodes[node].database.writes(),
            Step::Demote(_) => self.demote(node),
            // A file beside its data that keeps it from starting as a primary is not modelled.
            Step::Disarm => true,
            Step::Start(_) => {
                if !self.nodes[node].database.running {
                    self.start_database(node);
                }
                !self.nodes[node].database.hung
            }
            Step::Synchronize(names) => {
                let named = std::array::from_fn(|i| names.iter().any(|name| name == NAMES[i]));
                let database = &mut self.nodes[node].database;
                let may = database.answers();
                if may {
                    database.synchronize(named);
                    self.ledger.by_hand[node] = None;
                    self.acknowledge(node);
                }
                may
            }
            Step::Follow(primary) => self.follow(node, named(primary)),
            Step::Rejoin(primary) => self.rejoin(node, named(primary)),
        }
    }

    fn follow(&mut self, node: usize, primary: usize) -> bool {
        let database = &mut self.nodes[node].database;
        if !database.receives() {
            return false;
        }
        database.follows = Some(primary);
        database.life += 1;
        let database = &self.nodes[node].database;
        let other = &self.nodes[primary].database;
        self.joined(node, primary)
            && other.writes()
            && other.contains(database.log.len(), database.last())
    }

    /// A clean stop: whoever is connected receives everything first.
    fn demote(&mut self, node: usize) -> bool {
        if !self.nodes[node].database.writes() {
            return false;
        }
        for other in 0..self.plan.setting.nodes {
            let connected = self.nodes[node].database.senders[other].heard.is_some();
            if other != node
                && connected
                && self.joined(node, other)
                && self.receives_from(other, node)
            {
                let length = self.nodes[node].database.log.len();
                self.take_log(other, node, length);
            }
        }
        self.stop_database(node);
        true
    }

    fn rejoin(&mut self, node: usize, primary: usize) -> bool {
        if primary == node {
            return false;
        }
        self.stop_database(node);
        if !self.joined(node, primary) || !self.nodes[primary].database.writes() {
            return false;
        }
        let log = std::mem::take(&mut self.nodes[primary].database.log);
        self.nodes[node].database.copy(&log, primary);
        self.nodes[primary].database.log = log;
        self.kernel_sees(node, EVENT_LISTENER_UP, 1);
        true
    }

    /// The database's processes are there again.
    pub fn start_database(&mut self, node: usize) {
        self.nodes[node].database.start();
        self.nodes[node].database.started_at = self.now;
        self.kernel_sees(node, EVENT_LISTENER_UP, 1);
    }

    /// They are gone, and the kernel has seen it.
    pub fn stop_database(&mut self, node: usize) {
        let host = &mut self.nodes[node];
        if !host.database.running {
            return;
        }
        let process = host.database.process;
        host.database.stop();
        if host.kernel.watch.tgid == process {
            self.kernel_sees(node, EVENT_PROCESS_EXIT, process.into());
        }
        self.kernel_sees(node, EVENT_LISTENER_GONE, 1);
    }

    /// The agent is woken by an event, soon.
    fn kernel_sees(&mut self, node: usize, kind: u32, detail: u64) {
        let host = &self.nodes[node];
        if let Some(life) = host.running.filter(|_| host.up) {
            let time_ns = host.local(self.now);
            let event = Seen { kind, instance: 0, time_ns, detail };
            let at = self.now + self.random.between(MS / 2, 3 * MS);
            self.queue.push(at, Event::Kernel { node, life, event });
        }
    }

    /// An observation sees what is there at its beginning, or at its end.
    fn start_observation(&mut self, node: usize, life: u32, id: JobId) {
        let host = &self.nodes[node];
        let (boot, fails) = (host.boot, host.observations_fail || host.database.hung);
        let takes = if host.observations_late {
            self.random.between(MS, VERY_LATE)
        } else if fails {
            SQL_TIMEOUT
        } else {
            let late = if self.random.permille(20) { 500 } else { 15 };
            self.random.between(1, late * MS)
        };
        if self.random.permille(500) {
            let end = End::Observed(self.observation(node));
            self.queue.push(self.now + takes, Event::Ended { node, life, id, end });
        } else {
            let job = Job::Observe;
            self.queue.push(self.now + takes, Event::Work { node, life, boot, id, job });
        }
    }

    fn observation(&mut self, node: usize) -> Observation {
        let now = self.now;
        let nodes = self.nodes.len();
        // What can't be observed is neither dead nor alive.
        let blind = self.nodes[node].observations_fail && self.random.permille(500);
        let host = &mut self.nodes[node];
        let process = match host.database.running {
            _ if blind => Process::Unknown,
            true => Process::Running(host.database.process),
            false => Process::Gone,
        };
        if !host.database.answers() || host.observations_fail {
            return Observation { process, ..Observation::default() };
        }
        let (streaming, confirmed): ([bool; MAX], [bool; MAX]) = host.database.standbys(now);
        let database = &mut host.database;
        if database.primary {
            database.wrote_at = Some(now);
        }
        let end = database.log.len() as u64;
        let clones = self.network.clones;
        // Two rows of one name, of two addresses: the standby is not awaited for certain.
        let own = |place: usize| clones[place].is_none();
        let row = |place: usize| Replication {
            peer: NAMES[place].to_owned(),
            streaming: streaming[place],
            awaited: database.names[place] && own(place),
            confirmed: confirmed[place] && own(place),
            lag: streaming[place]
                .then(|| end.saturating_sub(database.senders[place].flushed as u64)),
            state: String::new(),
        };
        let others = (0..nodes).filter(|&other| other != node);
        let replication = if database.primary { others.map(row).collect() } else { vec![] };
        // A walreceiver says "streaming" long after its primary is gone.
        let upstream = database.follows.filter(|_| !database.primary).map(|from| Upstream {
            peer: Some(NAMES[from].to_owned()),
            host: String::new(),
            streaming: true,
        });
        Observation {
            upstream,
            role: if database.primary { Role::Primary } else { Role::Standby },
            writable: database.primary,
            lsn: Some(Lsn::new(end)),
            process,
            replication,
            ..Observation::default()
        }
    }

    fn check_database(&mut self, node: usize, life: u32, id: JobId, of: Option<NodeId>) {
        let there = of.map_or(node, |of| self.place(of));
        let host = &self.nodes[there];
        let reached = there == node || self.joined(node, there);
        let (takes, outcome) = match (reached, host.database.running, host.database.hung) {
            (false, ..) => (CHECK_TIMEOUT, Outcome::Unknown),
            (true, false, _) => (MS, Outcome::Refused),
            (true, true, true) => (CHECK_TIMEOUT, Outcome::NoAnswer),
            (true, true, false) => (MS, Outcome::Answered),
        };
        let end = End::Checked(outcome);
        self.queue.push(self.now + takes, Event::Ended { node, life, id, end });
    }

    /// A question has arrived at the arbiter, whoever still waits for the answer.
    pub fn asked(&mut self, node: usize, life: u32, id: JobId, job: &Job) {
        let store = self.plan.setting.arbiter == Arbiter::Etcd;
        let end = match *job {
            Job::Propose(record) if store => {
                let ruling = self.store.propose(record);
                let shown = self.show(&record);
                self.note(|| format!("arbiter: {} asks for {shown}: {ruling:?}", NAMES[node]));
                End::Ruled(ruling)
            }
            Job::Propose(record) => End::Ruled(Ruling::Granted(record.term)),
            _ => End::Consulted(Ok(self.store.record.filter(|_| store))),
        };
        let lost = self.network.answers_lost > 0 && self.random.permille(700);
        if !lost && self.network.reaches_arbiter(node) {
            let back = self.now + self.random.between(MS / 2, 8 * MS);
            self.queue.push(back, Event::Ended { node, life, id, end });
        }
    }
}

/// How long a step takes, milliseconds.
const fn duration(step: &Step) -> (u64, u64) {
    match step {
        Step::Promote => (20, 150),
        Step::StopImmediate => (5, 50),
        Step::Checkpoint => (5, 100),
        Step::Demote(_) | Step::Start(_) => (20, 200),
        Step::Synchronize(_) => (2, 40),
        Step::Follow(_) => (20, 100),
        Step::Rejoin(_) => (50, 400),
        Step::AfterFailover | Step::Disarm => (1, 1),
    }
}

/// The place of the node of that name.
fn named(name: &str) -> usize {
    NAMES.iter().position(|&other| other == name).unwrap_or(0)
}
