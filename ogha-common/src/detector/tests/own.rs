//! The rules about this node's own database, by name; and whatever strangers and load do, look by look.

use std::string::ToString as _;

use proptest::prelude::*;

use super::*;
use crate::{
    detector::{
        Hang, Own,
        vitals::{Look, Task, TaskState},
    },
    units::Lsn,
};

const TIMEOUT_OF_HANGS: Duration = ms(2000);
const LOOK: u64 = 50;

/// A database, a look at a time.
struct Server {
    now: u64,
    own: Own,
    main: TaskState,
    /// The main process gets something to do, and does it.
    runs: bool,
    writer: TaskState,
    writing_since: Option<u64>,
    traced: bool,
    disks_write: bool,
    session: bool,
    checks: CheckOutcome,
    switches: u64,
    written: u64,
    end: u64,
    checked_at: u64,
}

impl Server {
    fn new() -> Self {
        Self {
            now: 0,
            own: Own::new(TIMEOUT_OF_HANGS, at(0)),
            main: TaskState::Asleep,
            runs: true,
            writer: TaskState::Asleep,
            writing_since: None,
            traced: false,
            disks_write: false,
            session: true,
            checks: CheckOutcome::Answered,
            switches: 0,
            written: 0,
            end: 0,
            checked_at: 0,
        }
    }

    /// A look; a write and a question each, unless one is under way; a check as often as there may be.
    fn look(&mut self) -> Verdict {
        self.now += LOOK;
        let now = at(self.now);
        self.switches += u64::from(self.runs);
        self.written += u64::from(self.disks_write);
        let look = Look {
            main: Task { state: self.main, switches: Some(self.switches) },
            writer: Task { state: self.writer, switches: Some(0) },
            writing_since: self.writing_since.map(at),
            written: Some(self.written),
            traced: self.traced,
        };
        self.own.look(now, look);
        if self.writing_since.is_none() {
            self.own.wrote(now, now);
        }
        if self.session {
            self.own.answered(now, now, Some(Lsn::new(self.end)));
        }
        if self.now >= self.checked_at + 300 {
            self.own.checked(now, at(self.checked_at + 1), self.checks);
            self.checked_at = self.now;
        }
        self.own.verdict()
    }

    /// For so long; the word after it, and when the database was first said to hang.
    fn pass(&mut self, time: u64) -> (&'static str, Option<u64>) {
        let (begin, mut hung) = (self.now, None);
        while self.now < begin + time {
            if let Verdict::Hung(_) = self.look() {
                hung.get_or_insert(self.now - begin);
            }
        }
        (self.own.verdict().as_str(), hung)
    }

    /// As it was for a while, with nothing wrong.
    fn healthy() -> Self {
        let mut server = Self::new();
        assert_eq!(server.pass(5000), ("healthy", None));
        server
    }
}

#[test]
fn a_stopped_process_hangs() {
    for (state, words) in
        [(TaskState::Stopped, "stopped by a signal"), (TaskState::Frozen, "frozen")]
    {
        let mut server = Server::healthy();
        (server.main, server.runs, server.checks) = (state, false, CheckOutcome::NoAnswer);
        let (word, hung) = server.pass(1000);
        assert_eq!(word, "hung");
        assert!(hung.is_some_and(|after| after <= 600), "{hung:?}");
        assert!(server.own.verdict().to_string().contains(words), "{}", server.own.verdict());
        (server.main, server.runs, server.checks) =
            (TaskState::Asleep, true, CheckOutcome::Answered);
        assert_eq!(server.pass(1000).0, "healthy", "it goes on");
    }
}

#[test]
fn one_that_is_stopped_for_a_moment_does_not_hang() {
    let mut server = Server::healthy();
    for _ in 0..50 {
        (server.main, server.checks) = (TaskState::Stopped, CheckOutcome::NoAnswer);
        assert_eq!(server.pass(150).1, None);
        (server.main, server.checks) = (TaskState::Asleep, CheckOutcome::Answered);
        server.pass(300);
    }
}

#[test]
fn one_that_a_debugger_holds_does_not_hang() {
    let mut server = Server::healthy();
    (server.main, server.runs, server.session) = (TaskState::Traced, false, false);
    server.checks = CheckOutcome::NoAnswer;
    server.writing_since = Some(server.now);
    assert_eq!(server.pass(60_000), ("suspect", None));
    // One that holds a lock which all others want.
    let mut server = Server::healthy();
    (server.traced, server.writing_since) = (true, Some(server.now));
    assert_eq!(server.pass(60_000), ("suspect", None));
}

#[test]
fn a_silent_process_hangs() {
    let mut server = Server::healthy();
    (server.runs, server.session, server.checks) = (false, false, CheckOutcome::NoAnswer);
    server.writing_since = Some(server.now);
    let (word, hung) = server.pass(3000);
    assert_eq!((word, hung.is_some_and(|after| (1900..=2700).contains(&after))), ("hung", true));
    let verdict = server.own.verdict();
    assert!(matches!(verdict, Verdict::Hung(Hang::Silent(_))), "{verdict}");
}

#[test]
fn storage_hangs() {
    let mut server = Server::healthy();
    server.writing_since = Some(server.now);
    let (word, hung) = server.pass(3000);
    assert_eq!(word, "hung");
    assert!(hung.is_some_and(|after| (1900..=2100).contains(&after)), "{hung:?}");
    assert!(server.own.verdict().to_string().contains("no write was done for"));
    server.writing_since = None;
    assert_eq!(server.pass(100).0, "healthy");
}

#[test]
fn a_slow_disk_does_not_hang_and_one_that_is_slow_for_ever_does() {
    let mut server = Server::healthy();
    (server.writing_since, server.disks_write) = (Some(server.now), true);
    assert_eq!(server.pass(19_000).1, None);
    assert_eq!(server.pass(2000).0, "hung");
}

#[test]
fn a_write_that_wants_a_processor_does_not_hang() {
    let mut server = Server::healthy();
    (server.writing_since, server.writer) = (Some(server.now), TaskState::Runnable);
    assert_eq!(server.pass(60_000).1, None);
    // Its process alone was stopped.
    let mut server = Server::healthy();
    (server.writing_since, server.writer) = (Some(server.now), TaskState::Stopped);
    assert_eq!(server.pass(60_000).1, None);
}

#[test]
fn a_session_that_writes_much_is_waited_for() {
    let mut server = Server::healthy();
    server.writing_since = Some(server.now);
    for _ in 0..100 {
        server.end += 1;
        assert_eq!(server.pass(1900).1, None, "the WAL grows on disk");
    }
}

/// A storm: checks are not answered, the accept queue is full, SYNs get no answer, for as long as it likes;
/// the main process is busy with it.
#[test]
fn strangers_only_make_suspicion_here_too() {
    for passive in
        [Passive::RequestStall(ms(60_000)), Passive::SynUnanswered(1500), Passive::SynRefused(1500)]
    {
        let mut server = Server::healthy();
        server.own.passive(at(server.now), Some(passive));
        server.checks = CheckOutcome::NoAnswer;
        assert_eq!(server.pass(60_000), ("suspect", None), "{passive:?}");
        server.session = false;
        assert_eq!(server.pass(60_000), ("suspect", None), "and the session is lost");
    }
}

#[test]
fn what_was_seen_before_an_own_stall_says_nothing() {
    let mut server = Server::healthy();
    server.writing_since = Some(server.now);
    server.pass(1900);
    server.own.stalled(at(server.now));
    assert_eq!(server.pass(1900).1, None);
    assert_eq!(server.pass(500).0, "hung");
}

/// What a client or a busy machine can do to what is seen, a look at a time. It can not stop the main
/// process, nor keep it from running when it wants to, nor keep a write from being done within two seconds,
/// unless the process that writes gets no processor, or the disks are busy writing.
#[derive(Clone, Copy, Debug)]
struct Mischief {
    looks: u8,
    checks: CheckOutcome,
    session: bool,
    main_runs: bool,
    writes: u8,
}

fn mischief() -> impl Strategy<Value = Mischief> {
    use CheckOutcome::{Answered, NoAnswer, Refused, Unknown};
    let checks = proptest::sample::select(&[Answered, NoAnswer, NoAnswer, Refused, Unknown]);
    (1..80u8, checks, any::<bool>(), any::<bool>(), 0..4u8).prop_map(
        |(looks, checks, session, main_runs, writes)| Mischief {
            looks,
            checks,
            session,
            main_runs,
            writes,
        },
    )
}

proptest! {
    #[test]
    fn nothing_that_a_client_or_a_load_can_do_is_a_hang(all in proptest::collection::vec(mischief(), 1..40)) {
        let mut server = Server::new();
        for one in all {
            (server.checks, server.session) = (one.checks, one.session);
            // A main process that need not run sleeps; but checks make it run.
            server.runs = one.main_runs || one.checks == CheckOutcome::NoAnswer;
            server.disks_write = one.writes == 1;
            server.writer = if one.writes == 2 { TaskState::Runnable } else { TaskState::Asleep };
            let waits = matches!(one.writes, 1 | 2) || one.looks < 38;
            server.writing_since = (one.writes > 0 && waits).then_some(server.now);
            for _ in 0..one.looks {
                let verdict = server.look();
                prop_assert!(!matches!(verdict, Verdict::Hung(_)), "{verdict} {one:?}");
            }
            server.writing_since = None;
            server.look();
        }
    }
}
