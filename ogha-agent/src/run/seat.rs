//! An instance and its host.

use super::{
    history::History,
    host::{Effects, Host},
    instance::Instance,
};
use crate::kernel::Kernel;

/// An instance with what it has of its host.
#[derive(Debug)]
pub struct Seat {
    /// The instance.
    pub instance: Instance,
    /// What is its own of the host.
    pub effects: Effects,
}

impl Seat {
    /// The instance and its ports.
    pub fn ports<'a>(
        &'a mut self,
        kernel: &'a mut Kernel,
        history: &'a mut History,
    ) -> (&'a mut Instance, Host<'a>) {
        (&mut self.instance, Host { kernel, history, effects: &mut self.effects })
    }
}
