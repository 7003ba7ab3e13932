//! What a person should know, as the core says it: a line in the log.

use ogha_common::{failover::Notice, units::NodeId};
use tracing::{error, info, warn};

use super::peers::Peers;

/// Says it, with the names of nodes.
pub fn tell(instance: &str, peers: &Peers, notice: Notice) {
    let name = |node: NodeId| peers.name_of(node);
    match notice {
        Notice::CannotTakeOver(why) => {
            warn!(instance, "nobody serves, and this node may not take over: {why}");
        }
        Notice::SplitBrain(node) => error!(
            instance,
            "split brain: {} has served as well. This node goes on. What the other one acknowledged \
             may be lost: compare the two databases before you rebuild it",
            name(node)
        ),
        Notice::RivalAdvert => warn!(instance, "another node sends adverts while this one serves"),
        Notice::Stopping => warn!(
            instance,
            "the database here is a second primary and is stopped; `ogha-agent rejoin` makes it a \
             standby of the new primary"
        ),
        Notice::PromotionTimedOut => error!(instance, "the promotion took too long"),
        Notice::NotOnDisk => error!(
            instance,
            "the record is not on this node's disk; the arbiter has it, and this node goes on"
        ),
        Notice::Forced(hindrance) => warn!(
            instance,
            "an operator forces this node to take over, though {hindrance}: acknowledged writes \
             may be lost"
        ),
        Notice::OutOfSync(node) => {
            warn!(instance, "{} is no more in sync: it may not be promoted", name(node));
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
        Notice::ForceRefused(refusal) => {
            error!(
                instance,
                "the forced failover that waited for the arbiter is refused: {refusal}"
            );
        }
        Notice::ForceExpired => error!(
            instance,
            "the forced failover is given up: the arbiter did not answer in time. Nothing has changed"
        ),
        Notice::SwitchoverUndone => warn!(instance, "the switchover was undone"),
    }
}
