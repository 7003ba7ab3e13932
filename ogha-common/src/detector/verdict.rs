//! Verdicts with their evidence.

use core::{
    mem::{Discriminant, discriminant},
    time::Duration,
};

use super::{MAX_PATHS, Stall};

/// What came of an active check (an SSLRequest ping, a look at the process).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The database answered.
    Answered,
    /// It was reached and did not answer in the check's time.
    NoAnswer,
    /// The connection was refused: nobody listens, or a firewall says so.
    Refused,
    /// The check could not be made; that changes nothing.
    Unknown,
}

/// What is thought of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Healthy,
    /// Something is odd or not known: reason to look, no reason to act.
    Suspect(Suspicion),
    /// Its agent is late, which is no failure.
    AgentSlow {
        /// Age of the agent's last heartbeat.
        age: Duration,
    },
    /// Neither a reply nor a probe of the peer came by any path.
    HostDead(HostLost),
    /// Its kernel answers, and nobody listens on the database's port.
    DatabaseDead(ListenerGone),
    /// Its kernel answers, and its agent has been silent for `agent_timeout`.
    AgentDead {
        /// Age of the agent's last heartbeat, as far as the host was seen to be up.
        age: Duration,
        /// Its process is gone; else it is stopped, or hangs.
        exited: bool,
    },
    /// The database listens but does not work, by evidence that no client can make.
    Hung(Hang),
}

/// Why a peer is suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// It was never heard, and not enough probes were missed yet.
    NeverHeard,
    /// It has not replied since a bad verdict was withdrawn.
    NoReply,
    /// This node was away, and has yet to find out what it knew before.
    OwnStall(Stall),
    /// No path can be used at this end.
    NoUsablePath,
    /// Its own probes arrive, but ours are not answered.
    OneWay {
        /// The fewest probes in a row that a path has lost.
        unanswered: u32,
    },
    /// A path is lost, others are not.
    PathLost {
        /// The first lost path.
        path: u8,
        /// Its probes in a row without a reply.
        unanswered: u32,
    },
    /// Its gate lapsed: its agent did not renew the lease.
    GateLapsed {
        /// Age of the agent's last heartbeat.
        age: Duration,
    },
    /// Its agent's process is gone, unannounced.
    AgentExited {
        /// Age of the agent's last heartbeat.
        age: Duration,
    },
    /// Its database may hang; no active check has confirmed it.
    Database(Sign),
    /// An active check failed, and nothing else says that the database hangs.
    CheckFailed(CheckOutcome),
    /// A debugger holds a process of the database.
    Traced,
    /// It is back from a bad verdict.
    Returning {
        /// Good replies in a row so far.
        replies: u8,
        /// How many are wanted.
        wanted: u8,
    },
}

/// Evidence of a lost host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLost {
    /// For each path, the probes in a row that were sent and missed; `None` where there is no
    /// path, or none that can be used here.
    pub misses: [Option<u32>; MAX_PATHS],
    /// Time since the last sign of life; `None`: there never was one.
    pub silence: Option<Duration>,
}

/// Evidence of a dead database: a reply says that nobody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerGone {
    /// Time since a reply last showed the listener; `None`: none ever did.
    pub seen: Option<Duration>,
}

/// How it is known that a database hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// Its main process has been stopped by a signal for so long, and a check was not answered.
    Stopped(Duration),
    /// Its main process has been frozen for so long, and a check was not answered.
    Frozen(Duration),
    /// Its main process has not run for so long, though checks waited for it.
    Silent(Duration),
    /// No write was done for so long, and one is under way.
    Storage(Duration),
    /// Its own node's agent reports it. Whether a check from here was answered all the same.
    Reported {
        /// The last one was.
        answered: bool,
    },
}

/// A sign that the database hangs. Whoever can reach its port can bring one about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Connections wait in the accept queue and nobody takes them: seen in replies.
    Queue(AcceptQueue),
    /// The TCP counters are unusual.
    Passive(Passive),
}

/// What the TCP counters of an instance's port show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passive {
    /// Requests came in, and no response has gone out for so long.
    RequestStall(Duration),
    /// So many SYNs in a row without a SYN-ACK.
    SynUnanswered(u32),
    /// So many SYNs in a row answered by RST.
    SynRefused(u32),
}

/// A listener's accept queue, in connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    /// Established, and not yet accepted (`sk_ack_backlog`).
    pub waiting: u32,
    /// The backlog that it was given (`sk_max_ack_backlog`); 0: not known.
    pub limit: u32,
}

impl AcceptQueue {
    /// Whether it takes no more.
    #[must_use]
    pub const fn is_full(self) -> bool {
        self.limit > 0 && self.waiting >= self.limit
    }
}

impl Verdict {
    /// One word for `status` and for logs.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspect(_) => "suspect",
            Self::AgentSlow { .. } => "agent slow",
            Self::HostDead(_) => "host dead",
            Self::DatabaseDead(_) => "database dead",
            Self::AgentDead { .. } => "agent dead",
            Self::Hung(_) => "hung",
        }
    }

    /// Whether host, agent and database work, be it slowly.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Healthy | Self::AgentSlow { .. })
    }

    /// Whether an active check of the database would tell more: to confirm a hang, or to clear it.
    #[must_use]
    pub const fn wants_check(&self) -> bool {
        use Suspicion::{CheckFailed, Database, Traced};
        matches!(self, Self::Hung(_) | Self::Suspect(Database(_) | CheckFailed(_) | Traced))
    }

    /// Whether the peer must prove itself before it is healthy again.
    pub(super) const fn unsettles(&self) -> bool {
        use Suspicion::{NoUsablePath, OneWay, PathLost};
        matches!(
            self,
            Self::HostDead(_)
                | Self::DatabaseDead(_)
                | Self::AgentDead { .. }
                | Self::Hung(_)
                | Self::Suspect(NoUsablePath | OneWay { .. } | PathLost { .. })
        )
    }

    /// Whether two verdicts differ in nothing but figures.
    #[must_use]
    pub fn same_kind(&self, other: &Self) -> bool {
        self.kind() == other.kind()
    }

    fn kind(&self) -> (Discriminant<Self>, Option<Discriminant<Suspicion>>) {
        let suspicion = match self {
            Self::Suspect(suspicion) => Some(discriminant(suspicion)),
            _ => None,
        };
        (discriminant(self), suspicion)
    }
}
