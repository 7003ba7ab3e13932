//! Notices of the core, as lines of the log.

use ogha_common::{failover::Notice, units::NodeId};
use tracing::{error, info, warn};

use super::peers::Peers;

/// Logs it, with the names of nodes.
pub fn log(instance: &str, peers: &Peers, notice: Notice) {
    let name = |node: NodeId| peers.name_of(node);
    match notice {
        Notice::CannotTakeOver(why) => {
            warn!(instance, "nobody serves, and this node may not take over: {why}");
        }
        Notice::SplitBrain(node) => error!(
            instance,
            "split brain: {} has served as well. This node continues to serve. Writes that the other \
             one acknowledged may be lost: compare the two databases before you rebuild it",
            name(node)
        ),
        Notice::RivalAdvert => warn!(instance, "another node sends adverts while this one serves"),
        Notice::Stopping => warn!(
            instance,
            "the database here is a second primary and is stopped; `ogha-agent rejoin` makes it a \
             standby of the new primary"
        ),
        Notice::PromotionTimedOut => {
            error!(instance, "the database did not accept writes within the promotion timeout")
        }
        Notice::NotOnDisk => error!(
            instance,
            "the record is not on this node's disk; the arbiter has it, and this node continues"
        ),
        Notice::OutOfSync(node) => {
            warn!(instance, "{} is no longer in sync: it may not be promoted", name(node));
        }
        Notice::InSync(node) => info!(instance, "{} is in sync: it may be promoted", name(node)),
        Notice::ArbiterRefused(term) => warn!(
            instance,
            "arbiter refused term {term}, or did not answer: cannot continue without the in-sync \
             standbys"
        ),
        Notice::NotAwaited(node) => error!(
            instance,
            "commits do not wait for {}, an in-sync standby: somebody has changed \
             synchronous_standby_names, synchronous_commit or an application_name. It is set right, or \
             the standby leaves the in-sync set",
            name(node)
        ),
        Notice::StrangerDesignated(term) => error!(
            instance,
            "the consensus store's record of term {term} names a primary that is not configured here: \
             it is ignored. Compare the instance's name and the nodes of both configurations"
        ),
        Notice::ImplausibleTerm(term) => error!(
            instance,
            "refused a record of term {term}: it is too far above the current one to follow it"
        ),
        Notice::HangsAgain => error!(
            instance,
            "the database here hangs, and a database of this cluster was stopped for a hang less than \
             10 minutes ago: this one is not stopped before an operator agrees (`ogha-agent resume` here). \
             Look for what both databases have in common: storage, memory, settings, a client"
        ),
        Notice::Forced(_)
        | Notice::ForceRefused(_)
        | Notice::ForceExpired
        | Notice::SwitchoverUndone => log_command(instance, notice),
    }
}

/// About what an operator has commanded.
fn log_command(instance: &str, notice: Notice) {
    match notice {
        Notice::Forced(blocker) => warn!(
            instance,
            "an operator forces this node to take over, though {blocker}: acknowledged writes \
             may be lost"
        ),
        Notice::ForceRefused(refusal) => {
            error!(instance, "forced failover refused after the arbiter answered: {refusal}");
        }
        Notice::ForceExpired => error!(
            instance,
            "forced failover abandoned: the arbiter did not answer in time. Nothing has changed"
        ),
        Notice::SwitchoverUndone => warn!(instance, "the switchover was undone"),
        _ => {}
    }
}
