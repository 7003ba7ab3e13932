//! Operator commands: what they are, and whether they are accepted.

use ::core::time::Duration;
use core::fmt;

use super::{
    Action, Blocker, Database, Marks, Notice,
    cluster::Known,
    context::Context,
    facts::PeerFacts,
    phase::{Phase, PhaseName, Standby, Takeover},
};
use crate::{
    units::{Instant, NodeId},
    wire::probe::Role,
};

/// How long a force waits for the arbiter.
const FORCE_DEADLINE: Duration = Duration::from_secs(10);

/// What an operator commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Hand the role to that node, or to the best; nothing is lost.
    Switchover {
        /// `None`: the best of the in-sync set.
        to: Option<NodeId>,
    },
    /// Take over here, though this node may not by itself: writes may be lost.
    Force,
    /// No failover until [`Command::Resume`].
    Pause,
    /// Failovers again.
    Resume,
    /// Make the database here a standby of the primary.
    Rejoin,
}

/// Why a command is refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Another node serves: the command belongs there, or makes no sense while that is so.
    Serves(NodeId),
    /// The database here receives WAL from a living primary: to promote it would make two.
    PrimaryLives,
    /// That node's database is a primary, and its agent speaks.
    PrimaryAt(NodeId),
    /// Nobody serves.
    NobodyServes,
    /// This node serves.
    ServesHere,
    /// Another operation is under way.
    Busy,
    /// Failovers are paused: the standby would not take over.
    Paused,
    /// That is no other node of the instance.
    UnknownNode,
    /// That node is not in sync.
    NotInSync(NodeId),
    /// That node is unreachable, or its database is no standby.
    NotReady(NodeId),
    /// No other node is in sync.
    NobodyInSync,
    /// The database here is neither standby nor primary.
    NoDatabaseHere,
    /// That node has paused, and must resume.
    PausedAt(NodeId),
}

/// What a forced failover would lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Nothing that was acknowledged: the record counts this node in sync.
    Nothing,
    /// What the old primary has acknowledged since it was last heard, and so many bytes that it had
    /// then and this node has not.
    Since(u64),
    /// Nobody can tell: no primary was heard since this agent started.
    Unknown,
}

/// What an operator has commanded and is not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Operator {
    /// What is remembered over restarts.
    pub marks: Marks,
    /// The agent is about to end, to be started again.
    pub stopping: bool,
    /// A force waits for the arbiter, until then.
    pub force_until: Option<Instant>,
}

impl Known {
    /// Whether an operator may force this node: nobody serves, and no primary lives.
    pub fn may_force(&self, now: Instant, phase: PhaseName) -> Result<(), Refusal> {
        match phase {
            PhaseName::Serving => return Err(Refusal::ServesHere),
            PhaseName::Standby | PhaseName::Fenced | PhaseName::Listening => {}
            _ => return Err(Refusal::Busy),
        }
        if let Some(node) = self.active_peer(now) {
            return Err(Refusal::Serves(node));
        }
        match self.facts.database {
            Database::Primary(primary) if primary.writable => Ok(()),
            Database::Standby { receives: true, .. } if !self.primary_is_down(now) => {
                Err(Refusal::PrimaryLives)
            }
            Database::Standby { .. } => {
                let there = |peer: &&PeerFacts| peer.is_there(now, &self.config);
                let mut peers = self.facts.known_peers().filter(there);
                match peers.find(|peer| peer.role() == Role::Primary) {
                    Some(peer) => Err(Refusal::PrimaryAt(peer.node)),
                    None => Ok(()),
                }
            }
            _ => Err(Refusal::NoDatabaseHere),
        }
    }

    /// The agent of the node that the record names says that its database is no primary. It knows that
    /// before the observation here does.
    fn primary_is_down(&self, now: Instant) -> bool {
        let primary = self.record().map(|record| record.primary);
        self.speaking(now).any(|peer| Some(peer.node) == primary && peer.role() != Role::Primary)
    }

    /// What a force would lose.
    pub fn loss_if_forced(&self) -> Loss {
        match self.may_take_over().err() {
            None if self.config.max_lag.is_none() => Loss::Nothing,
            Some(Blocker::NeverHeardPrimary) => Loss::Unknown,
            _ => Loss::Since(self.facts.behind(self.record())),
        }
    }
}

impl Context<'_> {
    /// Notes what was commanded and how far the phase goes along.
    ///
    /// # Errors
    /// Why it is refused, with the phase as it was.
    pub fn command(&mut self, phase: Phase, command: Command) -> (Phase, Result<(), Refusal>) {
        match command {
            Command::Switchover { to } => match phase {
                Phase::Serving(mut serving) => {
                    let done = serving.switch_over(self, to);
                    (Phase::Serving(serving), done)
                }
                other => {
                    let serves = self.known.serving_primary(self.now);
                    (other, Err(serves.map_or(Refusal::NobodyServes, Refusal::Serves)))
                }
            },
            Command::Force => self.force(phase),
            Command::Pause => {
                self.set_paused(true);
                (phase, Ok(()))
            }
            Command::Resume => {
                let done = self.resume();
                (phase.resumed(), done)
            }
            Command::Rejoin => self.rejoin(phase),
        }
    }

    fn force(&mut self, phase: Phase) -> (Phase, Result<(), Refusal>) {
        if let Err(refusal) = self.known.may_force(self.now, phase.name()) {
            return (phase, Err(refusal));
        }
        if !self.known.config.has_store() {
            return (self.force_now(phase), Ok(()));
        }
        self.known.operator.force_until = Some(self.now + FORCE_DEADLINE);
        self.act(Action::Consult);
        (phase, Ok(()))
    }

    /// The arbiter has answered a force that waited, if there is one: it is checked again, for much may
    /// have changed.
    pub fn force_if_waiting(&mut self, phase: Phase) -> Phase {
        if self.known.operator.force_until.take().is_none() {
            return phase;
        }
        match self.known.may_force(self.now, phase.name()) {
            Ok(()) => self.force_now(phase),
            Err(refusal) => {
                self.notice(Notice::ForceRefused(refusal));
                phase
            }
        }
    }

    /// Nobody serves, and an operator wants this node to.
    fn force_now(&mut self, phase: Phase) -> Phase {
        let blocker = match &phase {
            Phase::Fenced(_) => Some(Blocker::Fenced),
            _ => self.known.may_take_over().err(),
        };
        if let Some(blocker) = blocker {
            self.notice(Notice::Forced(blocker));
        }
        Takeover::forced(self, phase.name(), Standby::default())
    }

    /// A force does not wait for ever.
    pub fn expire_force(&mut self) {
        if self.known.operator.force_until.is_some_and(|until| self.now >= until) {
            self.known.operator.force_until = None;
            self.notice(Notice::ForceExpired);
        }
    }

    fn set_paused(&mut self, paused: bool) {
        let marks = Marks { paused, ..self.known.operator.marks };
        if self.set_marks(marks) {
            self.publish();
        }
    }

    fn resume(&mut self) -> Result<(), Refusal> {
        self.set_paused(false);
        let (now, timeout) = (self.now, self.known.config.agent_timeout);
        for peer in self.known.facts.peers.iter_mut().flatten() {
            let Some(status) = peer.status.as_mut().filter(|status| status.paused) else {
                continue;
            };
            if now.since(peer.at) < timeout {
                return Err(Refusal::PausedAt(peer.node));
            }
            // What a node said that is gone holds nobody back for ever.
            status.paused = false;
        }
        Ok(())
    }

    fn rejoin(&mut self, phase: Phase) -> (Phase, Result<(), Refusal>) {
        if self.known.serving_primary(self.now).is_none()
            && matches!(phase, Phase::Standby(_) | Phase::Fenced(_))
        {
            return (phase, Err(Refusal::NobodyServes));
        }
        match phase {
            Phase::Standby(mut standby) => {
                let done = standby.rejoin.want();
                if done.is_ok() {
                    standby.rejoin.come_back(self);
                }
                (Phase::Standby(standby), done)
            }
            Phase::Fenced(mut fenced) => {
                let done = fenced.rejoin.want();
                if done.is_ok() {
                    fenced.come_back(self);
                }
                (Phase::Fenced(fenced), done)
            }
            Phase::Serving(_) => (phase, Err(Refusal::ServesHere)),
            _ => (phase, Err(Refusal::Busy)),
        }
    }

    /// Remembers over restarts that a switchover has stopped the database here, or that it is over.
    pub fn set_handed_over(&mut self, handed_over: bool) {
        let marks = Marks { handed_over, ..self.known.operator.marks };
        self.set_marks(marks);
    }

    fn set_marks(&mut self, marks: Marks) -> bool {
        let changed = ::core::mem::replace(&mut self.known.operator.marks, marks) != marks;
        if changed {
            self.act(Action::PersistMarks(marks));
        }
        changed
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serves(_) => "another node serves",
            Self::PrimaryLives => {
                "the database here receives WAL from a living primary: to promote it would make two \
                 primaries. Start the agent of that node, or stop its database first"
            }
            Self::PrimaryAt(_) => "another node's database is the primary, and its agent runs",
            Self::NobodyServes => "no node serves",
            Self::ServesHere => "this node serves",
            Self::Busy => "another operation is under way; see `ogha-agent status`",
            Self::Paused => "failovers are paused, so no other node would take over; resume first",
            Self::UnknownNode => "no other node of the instance has that name",
            Self::NotInSync(_) => "that node is not in sync: acknowledged writes would be lost",
            Self::NotReady(_) => "that node is unreachable, or its database is no standby",
            Self::NobodyInSync => "no other node is in sync and ready",
            Self::NoDatabaseHere => "the database here does not run; start it first",
            Self::PausedAt(_) => "another node is paused too; resume there",
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no acknowledged write: this node is in sync"),
            Self::Since(0) => f.write_str(
                "what the old primary has acknowledged without this node since it was last heard",
            ),
            Self::Since(bytes) => write!(
                f,
                "at least {bytes} bytes of WAL, and what the old primary has acknowledged since it \
                 was last heard"
            ),
            Self::Unknown => {
                f.write_str("an unknown amount: no primary was heard since this agent started")
            }
        }
    }
}
