//! The rules by name, so that a test can break each of them and see what comes of it.

use super::core::Core;

/// A rule that keeps two gates from being open at once, or an acknowledged write from being lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A node that starts listens before it does anything.
    ListenFirst,
    /// A gate opens on a database that was seen to accept writes, and on no other.
    OpenOnWritable,
    /// Only a node of the in-sync set is promoted.
    PromoteInSync,
    /// A node takes its word back before it reads what it had promised.
    Withdraw,
    /// A promise is waited out.
    WaitForPromise,
    /// The arbiter is asked for the next term.
    AskArbiter,
    /// A higher term fences.
    HigherTermFences,
    /// What is reported closed the kernel has.
    ClosedBeforeReported,
    /// A lease that has ended is not renewed.
    LapsedStaysLapsed,
    /// The agent renews the lease by itself only where nobody else may be promoted.
    RenewOnlyAlone,
    /// Whose grant is needed is widened before the record.
    WidenBeforeRecord,
    /// And narrowed after it.
    NarrowAfterRecord,
    /// A node is in sync only once commits wait for it and it has confirmed all before.
    ConfirmBeforeRecord,
    /// Commits stop waiting for a node only once the record does not count it in sync.
    ReleaseAfterRecord,
    /// A hung database is stopped before its node reports itself fenced.
    StopBeforeReported,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ListenFirst,
        Self::OpenOnWritable,
        Self::PromoteInSync,
        Self::Withdraw,
        Self::WaitForPromise,
        Self::AskArbiter,
        Self::HigherTermFences,
        Self::ClosedBeforeReported,
        Self::LapsedStaysLapsed,
        Self::RenewOnlyAlone,
        Self::WidenBeforeRecord,
        Self::NarrowAfterRecord,
        Self::ConfirmBeforeRecord,
        Self::ReleaseAfterRecord,
        Self::StopBeforeReported,
    ];
}

impl Core {
    /// Whether this core keeps the rule. Always, but in the tests that break it.
    #[cfg(any(test, feature = "mutations"))]
    pub(super) fn keeps(&self, rule: Rule) -> bool {
        self.broken != Some(rule)
    }

    /// From now on this core breaks the rule.
    #[cfg(any(test, feature = "mutations"))]
    pub fn break_rule(&mut self, rule: Rule) {
        self.broken = Some(rule);
    }

    /// Whether this core keeps the rule.
    #[cfg(not(any(test, feature = "mutations")))]
    #[expect(clippy::unused_self, reason = "it is the tests that ask the configuration")]
    pub(super) const fn keeps(&self, _: Rule) -> bool {
        true
    }
}
