//! Everything that reaches the loop, in one queue.

use ogha_common::maps::Event;
use tokio::sync::{mpsc, oneshot};

use super::message;
use crate::{
    config::Config,
    control::protocol::{Request, Response},
    kernel::Kernel,
    net::{interface::Interface, survey::Survey},
};

/// A message to the loop. Instances are named by their index.
#[derive(Debug)]
pub enum Message {
    /// For one instance.
    Instance(usize, message::Message),
    /// The kernel saw something.
    Kernel(Event),
    /// The host's interfaces and addresses, as they are.
    Surveyed(Survey),
    /// The programs were loaded, and attached to these interfaces, or could not be.
    Reloaded(anyhow::Result<(Box<Kernel>, Vec<Interface>)>),
    /// An operator asks.
    Control(Request, oneshot::Sender<Response>),
    /// The configuration was read again: it, or its problems, one a line.
    Reload(Result<Box<Config>, Vec<String>>),
    /// A part of the agent that must not end has ended.
    Broken(anyhow::Error),
}

/// Where messages are put.
pub type Inbox = mpsc::UnboundedSender<Message>;
