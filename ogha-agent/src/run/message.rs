//! What an instance is told by its surroundings.

use std::net::IpAddr;

use ogha_common::{maps::Event, wire::vrrp::Advert};

use super::ports::{End, JobId};

/// A message to one instance.
#[derive(Clone, Debug)]
pub enum Message {
    /// A job has ended.
    Ended(JobId, End),
    /// A valid advert arrived on its interface.
    Advert(IpAddr, Advert),
    /// The kernel saw something.
    Kernel(Event),
}
