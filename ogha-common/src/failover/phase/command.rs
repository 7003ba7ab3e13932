//! Operator commands: whether one is accepted, and what follows from it.

use ::core::time::Duration;

use super::{Phase, Standby, Takeover};
use crate::failover::{Action, Blocker, Command, Marks, Notice, Refusal, context::Context};

/// How long a force waits for the arbiter.
const FORCE_DEADLINE: Duration = Duration::from_secs(10);

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
        self.known.facts.hangs.agree();
        let (now, timeout) = (self.now, self.known.config.agent_timeout);
        for peer in self.known.facts.peers.iter_mut().flatten() {
            let Some(status) = peer.status.as_mut().filter(|status| status.paused) else {
                continue;
            };
            if now.since(peer.at) < timeout {
                return Err(Refusal::PausedAt(peer.node));
            }
            // The last status of a node that is gone blocks nobody for ever.
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
