//! The line that a person reads about a verdict.

use core::fmt;

use super::{
    AcceptQueue, CheckOutcome, Hang, HostLost, ListenerGone, Passive, Sign, Suspicion, Verdict,
};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Suspect(suspicion) => write!(f, "suspect: {suspicion}"),
            Self::AgentSlow { age } => write!(f, "agent slow: no heartbeat for {age:.1?}"),
            Self::HostDead(evidence) => write!(f, "host dead: {evidence}"),
            Self::DatabaseDead(evidence) => write!(f, "database dead: {evidence}"),
            Self::AgentDead { age, exited } => {
                let how = if *exited { "its process is gone" } else { "its process is there" };
                write!(f, "agent dead: no heartbeat for {age:.1?}, {how}")
            }
            Self::Hung(hang) => write!(f, "hung: {hang}"),
        }
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverHeard => f.write_str("not heard yet"),
            Self::NoReply => f.write_str("no reply yet"),
            Self::OwnStall(stall) => write!(f, "{stall}, no reply since"),
            Self::NoUsablePath => f.write_str("no path to it can be used at this end"),
            Self::OneWay { unanswered } => {
                write!(f, "its probes arrive, but {unanswered} of ours were not answered")
            }
            Self::PathLost { path, unanswered } => {
                write!(f, "path {path} is lost: {unanswered} probes were not answered")
            }
            Self::GateLapsed { age } => {
                write!(f, "its gate lapsed, its agent is silent for {age:.1?}")
            }
            Self::AgentExited { age } => {
                write!(f, "its agent's process is gone, no heartbeat for {age:.1?}")
            }
            Self::Database(sign) => write!(f, "{sign}, not confirmed"),
            Self::CheckFailed(outcome) => write!(f, "{outcome}, nothing else says that it hangs"),
            Self::Traced => f.write_str("a debugger holds a process of the database"),
            Self::Returning { replies, wanted } => {
                write!(f, "it is back: {replies} of {wanted} good replies")
            }
        }
    }
}

impl fmt::Display for HostLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usable =
            (0..).zip(self.misses).filter_map(|(path, misses): (u8, _)| Some((path, misses?)));
        for (path, misses) in usable {
            write!(f, "{misses} probes missed on path {path}, ")?;
        }
        match self.silence {
            Some(silence) => write!(f, "last sign of life {silence:.1?} ago"),
            None => f.write_str("never a sign of life"),
        }
    }
}

impl fmt::Display for ListenerGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seen {
            Some(seen) => write!(f, "nobody listens on its port, as somebody did {seen:.1?} ago"),
            None => f.write_str("nobody listens on its port, and nobody was ever seen to"),
        }
    }
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped(age) => write!(
                f,
                "its main process has been stopped by a signal for {age:.1?}, and a check was not answered"
            ),
            Self::Frozen(age) => write!(
                f,
                "its main process has been frozen for {age:.1?}, and a check was not answered"
            ),
            Self::Silent(age) => write!(
                f,
                "its main process has not run for {age:.1?} though connections wait for it, SQL has no \
                 answer, and a check was not answered"
            ),
            Self::Storage(age) => write!(
                f,
                "no write was done for {age:.1?}, and one is under way: the storage does not answer"
            ),
            Self::Reported { answered: true } => f.write_str("its own agent reports that it hangs"),
            Self::Reported { answered: false } => {
                f.write_str("its own agent reports that it hangs, and a check was not answered")
            }
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(AcceptQueue { waiting, limit: 0 }) => {
                write!(f, "{waiting} connections are not accepted")
            }
            Self::Queue(AcceptQueue { waiting, limit }) => {
                write!(f, "{waiting} connections are not accepted (room for {limit})")
            }
            Self::Passive(passive) => passive.fmt(f),
        }
    }
}

impl fmt::Display for Passive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestStall(age) => write!(f, "requests have no response for {age:.1?}"),
            Self::SynUnanswered(count) => write!(f, "{count} SYNs were not answered"),
            Self::SynRefused(count) => write!(f, "{count} SYNs were refused"),
        }
    }
}

impl fmt::Display for CheckOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "a check was answered",
            Self::NoAnswer => "a check was not answered",
            Self::Refused => "a check was refused",
            Self::Unknown => "a check could not be made",
        })
    }
}
