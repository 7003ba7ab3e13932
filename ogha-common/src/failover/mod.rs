//! The decision core: who may be promoted, and when the gate may open.
//!
//! One [`Core`] an instance. An [`Input`] goes in with the time at which it happened, [`Action`]s
//! come out in the order in which they must be carried out, and the outcome of each effect comes
//! back as an input. Nothing here reads a clock, a file or a socket, so the same code runs in the
//! agent, in the tests and in the simulation.
//!
//! What was observed stands in `facts`, the current record in `cluster`, what an operator has
//! commanded in `command`. Everything else belongs to a `phase` and ends with it. A phase is left
//! through one function, `phase::enter`, which orders what the change requires; each change has a
//! reason ([`Why`]).
//!
//! The rules, by the numbers and names that the code and the tests use. Each dangerous act needs a
//! permit that only the function of its rule makes (`rules`); else that returns the [`Blocker`],
//! which `status` prints.
//!
//! 1. `gate_opens_only_on_a_writable_primary`: a gate opens only on the node that the record
//!    names as primary, on a database that was observed to accept writes.
//! 2. `promotion_waits_for_the_grant`: a node promotes only if it is in sync, its lease grant has run
//!    out or the old primary reported itself fenced, and the arbiter has granted its term.
//! 3. `a_primary_goes_on_alone_only_by_the_record`: one that loses a peer whose grant it needs goes on
//!    only after a record without that peer; commits wait for a peer until then.
//! 4. `a_higher_term_fences`: a node that sees a higher term fences at once and does not serve
//!    again before its database has rejoined as a standby. A term that leaps is refused.
//! 5. `closed_is_reported_after_the_kernel_has_it`; two primaries are a split brain: of one
//!    term the lower priority fences, else the lower term; both report it.
//! 6. `a_dead_database_fences_at_once`: close the gate, report `fenced`, let the peer promote;
//!    no timer is waited for.
//! 7. `a_slow_agent_is_no_failure`, and an agent that is dead for `agent_timeout` is.
//! 8. `adverts_decide_nothing_between_the_nodes_of_a_database`: terms do.
//! 9. `a_member_is_awaited_and_grants`: commits wait for a node, it has confirmed all before, and its
//!    grant is needed before the record counts it in sync, and until after the record does not any more.
//!    That commits really wait is verified by each observation.
//! 10. `unknown_is_not_dead`: what could not be observed changes nothing.

mod action;
mod blocker;
mod cluster;
mod command;
mod commits;
mod context;
mod core;
mod facts;
mod grants;
mod hangs;
mod input;
mod order;
mod phase;
mod reconfigure;
mod record;
mod rules;
mod synchronize;
#[cfg(test)]
mod tests;
mod timeline;
mod transition;
mod wait;

pub use self::{
    action::{Action, Notice},
    blocker::Blocker,
    command::{Command, Loss, Refusal},
    core::Core,
    input::{Database, Input, Marks, Primary, Role, Ruling, Sign},
    order::{GateOrder, Order},
    reconfigure::Settings,
    record::{MAX_NODES, NodeSet, Record},
    timeline::{Cause, Outcome, Step},
    transition::{PhaseName, TRANSITIONS, Transition, Why},
    wait::Wait,
};

use ::core::time::Duration;

use crate::{
    election,
    units::{NodeId, Priority},
};

/// Who decides when nodes lose each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arbiter {
    /// Nobody: each node goes on by itself.
    None,
    /// Addresses that a node must reach to go on. It keeps no record.
    Gateway,
    /// A consensus store that holds the record and changes it by compare-and-swap.
    Etcd,
}

/// What an instance was configured to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// The configured nodes, this one among them.
    pub nodes: NodeSet,
    /// Who fences when two nodes serve in one term: the lower.
    pub priority: Priority,
    /// Who decides when nodes lose each other.
    pub arbiter: Arbiter,
    /// How long a grant lasts, and how long a host that no longer answers is waited for.
    pub lease: Duration,
    /// How long an open gate stays open without its agent: a dead-man switch. An agent that is
    /// silent for so long is dead.
    pub agent_timeout: Duration,
    /// How long a promotion, or a start in place, may take before the node gives it up.
    pub promotion_timeout: Duration,
    /// How long a switchover may take before it is undone.
    pub switchover_timeout: Duration,
    /// `None`: commits wait for the in-sync set. Else replication is asynchronous, and a node may be
    /// so many bytes behind the last position heard and still be promoted.
    pub max_lag: Option<u64>,
    /// A database that lost its role rejoins without an operator command.
    pub rejoin: bool,
    /// How often a database that died is started again in place before its node fails over.
    pub restart_attempts: u8,
    /// The election.
    pub election: election::Config,
}

impl Config {
    /// What a waiting node adds to a grant: clock rates differ by up to 1 part in 1000, and
    /// the renewal may have been under way when the last status was sent.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.agent_timeout / 1000 + Duration::from_millis(1)
    }

    /// Whether the gate's lease is granted by the other in-sync nodes.
    #[must_use]
    pub fn grants(&self) -> bool {
        self.arbiter != Arbiter::None
    }

    /// Whether the arbiter keeps the record.
    pub(crate) fn has_store(&self) -> bool {
        self.arbiter == Arbiter::Etcd
    }

    /// Two nodes: there is no third that could take over at the same time.
    pub(crate) fn is_a_pair(&self) -> bool {
        self.nodes.len() <= 2
    }
}
