//! `ogha-agent pause` and `ogha-agent resume`

use super::{Failure, order};
use crate::control::protocol::Request;

pub(super) fn pause(args: &order::Args) -> Result<(), Failure> {
    let accepted = args.give(&Request::Pause(args.about()))?;
    let view = args.poll_status(&accepted.instance)?;
    args.end(&view, "failovers are paused: nobody takes over until `ogha-agent resume` here")
}

pub(super) fn resume(args: &order::Args) -> Result<(), Failure> {
    let accepted = args.give(&Request::Resume(args.about()))?;
    let view = args.poll_status(&accepted.instance)?;
    args.end(&view, "failovers are no longer paused")
}
