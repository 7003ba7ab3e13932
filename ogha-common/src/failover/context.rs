//! What a phase works with: all that is known, VRRP's election, the time, and the way out for actions.

use super::{Action, Notice, Outcome, Step, cluster::Known};
use crate::{
    election::{self, Election},
    units::Instant,
};

/// Where actions go, in order.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Action);

/// What a phase works with.
pub(super) struct Context<'a> {
    pub known: &'a mut Known,
    pub election: &'a mut Election,
    pub now: Instant,
    /// The name of the input that is being handled.
    pub input: &'static str,
    pub sink: Sink<'a>,
}

impl Context<'_> {
    pub fn act(&mut self, action: Action) {
        (self.sink)(action);
    }

    pub fn notice(&mut self, notice: Notice) {
        self.act(Action::Notice(notice));
    }

    pub fn step(&mut self, step: Step) {
        self.act(Action::Step(step));
    }

    pub fn publish(&mut self) {
        self.act(Action::Publish);
    }

    pub fn end(&mut self, outcome: Outcome) {
        self.act(Action::End(outcome));
    }

    /// Drives VRRP, whose role follows the database's by order (rule 8). True when the active node's
    /// adverts have stopped for Active_Down_Interval.
    pub fn elect(&mut self, input: election::Input) -> bool {
        let mut silent = false;
        let sink = &mut self.sink;
        self.election.handle(self.now, input, &mut |action| match action {
            election::Action::SendAdvert(priority) => sink(Action::SendAdvert(priority)),
            election::Action::ActiveDown => silent = true,
            // The core announces when the kernel lets it: an announcement with a closed gate
            // does not leave the host.
            election::Action::Announce
            | election::Action::BecameActive
            | election::Action::BecameBackup => {}
        });
        silent
    }

    /// The database here hangs.
    pub fn note_hang(&mut self) {
        if self.known.facts.hangs.note() {
            self.publish();
        }
    }

    /// It does not any more.
    pub fn hang_over(&mut self) {
        if self.known.facts.hangs.here() {
            self.known.facts.hangs.over();
            self.publish();
        }
    }

    /// Whether a database that serves and hangs may be stopped now.
    pub fn may_stop_for_hang(&mut self) -> bool {
        let may = self.known.facts.hangs.may_stop(self.now);
        if may == Err(true) {
            self.notice(Notice::HangsAgain);
        }
        may.is_ok()
    }
}
