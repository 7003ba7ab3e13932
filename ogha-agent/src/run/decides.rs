//! The boundary between an instance and its core.

use ogha_common::{
    failover::{Action, Command, Core, Input, Refusal},
    units::{Instant, NodeId},
    wire::probe::Status,
};

/// What decides for an instance. The agent runs the [`Core`] itself; a simulated run may put a
/// filter around it, to see what becomes of a cluster in which one rule is broken.
pub trait Decides {
    /// One input; the actions come out in the order in which they must be carried out.
    fn handle(&mut self, now: Instant, input: Input, sink: &mut dyn FnMut(Action));

    /// An operator command.
    ///
    /// # Errors
    /// Why it is refused.
    fn command(
        &mut self,
        now: Instant,
        command: Command,
        sink: &mut dyn FnMut(Action),
    ) -> Result<(), Refusal>;

    /// When [`Input::Tick`] is due.
    fn next_timer(&self) -> Option<Instant>;

    /// What this node tells its peers.
    fn status(&self) -> Status;

    /// To whom this node grants a lease.
    fn grant(&self) -> Option<NodeId>;

    /// The core itself: for people, for hooks and for tests.
    fn core(&self) -> &Core;
}

impl Decides for Core {
    fn handle(&mut self, now: Instant, input: Input, sink: &mut dyn FnMut(Action)) {
        Self::handle(self, now, input, sink);
    }

    fn command(
        &mut self,
        now: Instant,
        command: Command,
        sink: &mut dyn FnMut(Action),
    ) -> Result<(), Refusal> {
        Self::command(self, now, command, sink)
    }

    fn next_timer(&self) -> Option<Instant> {
        Self::next_timer(self)
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn grant(&self) -> Option<NodeId> {
        Self::grant(self)
    }

    fn core(&self) -> &Core {
        self
    }
}
