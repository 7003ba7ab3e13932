//! Everything that reaches the loop, in one queue.

use std::net::IpAddr;

use ogha_common::{
    failover::{Input, Record, Ruling},
    maps::Event,
    wire::vrrp::Advert,
};
use tokio::sync::{mpsc, oneshot};

use super::{health::Check, router::Wish};
use crate::{
    control::protocol::{Request, Response},
    database::Observation,
};

/// A message to the loop. Instances are named by their index.
#[derive(Debug)]
pub enum Message {
    /// The outcome of an effect.
    Outcome(usize, Input),
    /// The database was looked at.
    Observed(usize, Observation),
    /// What the arbiter says of this record.
    Ruled(usize, Record, Ruling),
    /// An active check of a database has ended.
    Checked(usize, Check),
    /// The addresses of a router without a database are as was wished.
    Addresses(usize, Wish),
    /// The kernel saw something.
    Kernel(Event),
    /// A valid advert arrived on this instance's interface.
    Advert(usize, IpAddr, Advert),
    /// An operator asks.
    Control(Request, oneshot::Sender<Response>),
    /// A part of the agent that must not end has ended.
    Broken(anyhow::Error),
}

/// Where messages are put.
pub type Inbox = mpsc::UnboundedSender<Message>;
