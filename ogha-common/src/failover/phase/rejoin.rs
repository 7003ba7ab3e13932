//! How the database of a node that does not serve finds back to the others: it is started, follows the
//! primary, or is made a standby of it again.

use ::core::time::Duration;

use crate::{
    failover::{Action, Database, Order, Refusal, cluster::Known, context::Context},
    units::{Instant, NodeId},
};

/// When an attempt that failed is made again.
const AGAIN: Duration = Duration::from_secs(10);
/// A rejoin stops the database: after each that failed the pause is twice as long, up to so many doublings.
const MOST_AFTER_FAILURES: u8 = 3;
/// One that follows and does not get in sync may only be slow: each time it is told again the pause is
/// twice as long, up to so many doublings.
const MOST_AFTER_FOLLOWING: u8 = 7;
/// So often a standby may fail to follow before it is made anew.
const UNFOLLOWED: u8 = 2;
/// When one that succeeded must be seen to have.
const SETTLE: Duration = Duration::from_millis(200);

/// How the database here finds back to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::failover) struct Rejoin {
    /// An attempt is under way.
    busy: bool,
    /// When the next one may begin.
    again_at: Option<Instant>,
    /// Whom the standby here was told to follow.
    followed: Option<NodeId>,
    /// How often in a row it could not.
    unfollowed: u8,
    /// How often it was told to follow that node, and did not get in sync.
    told: u8,
    /// How often in a row it has failed to rejoin.
    failures: u8,
    /// An operator has asked for it, or has moved the role away from here.
    wanted: bool,
    /// Two histories were written in one term: only an operator may throw one away.
    split: bool,
}

impl Rejoin {
    /// When [`Rejoin::come_back`] is due.
    pub fn timer(&self) -> Option<Instant> {
        self.again_at.filter(|_| !self.busy)
    }

    /// The same, not before that time; that time where nothing else is due.
    pub fn timer_from(&self, at: Instant) -> Option<Instant> {
        (!self.busy).then(|| self.again_at.map_or(at, |again| again.max(at)))
    }

    pub fn is_due(&self, now: Instant) -> bool {
        !self.busy && self.again_at.is_none_or(|at| now >= at)
    }

    pub const fn is_busy(&self) -> bool {
        self.busy
    }

    pub fn begin(&mut self, now: Instant) {
        self.busy = true;
        self.again_at = Some(now + AGAIN);
    }

    pub fn end(&mut self, now: Instant, ok: bool) {
        self.busy = false;
        self.again_at = Some(now + if ok { SETTLE } else { AGAIN });
    }

    /// An operator wants it, at once, whatever was decided before.
    ///
    /// # Errors
    /// An attempt is under way.
    pub fn want(&mut self) -> Result<(), Refusal> {
        if self.busy {
            return Err(Refusal::Busy);
        }
        self.hand_over();
        Ok(())
    }

    /// The role was moved away from here: nothing is lost by coming back.
    pub fn hand_over(&mut self) {
        self.wanted = true;
        self.split = false;
        self.failures = 0;
        self.again_at = None;
    }

    pub fn note_split(&mut self) {
        self.split = true;
    }

    /// Whether it needs no operator.
    pub fn is_automatic(&self, known: &Known) -> bool {
        self.is_wanted(known) || known.config.rejoin && !self.split
    }

    fn is_wanted(&self, known: &Known) -> bool {
        (self.wanted || known.operator.marks.handed_over) && !self.split
    }

    /// A standby that can't follow, again and again: its timeline diverges from the primary's.
    pub const fn is_diverged(&self) -> bool {
        self.unfollowed >= UNFOLLOWED
    }

    /// Starts a database that is not running at a node that is to serve, if this node may.
    pub fn start_database(&mut self, cx: &mut Context<'_>) {
        let known = &cx.known;
        let may = (known.config.restart_attempts > 0 || known.operator.marks.handed_over)
            && known.is_designated()
            && !known.is_paused()
            && known.facts.database == Database::Stopped
            && !known.is_forestalled(cx.now);
        if may && self.is_due(cx.now) {
            self.start(cx);
        }
    }

    pub fn start(&mut self, cx: &mut Context<'_>) {
        self.begin(cx.now);
        cx.act(Action::Database(Order::Start));
    }

    /// Brings the database here to the primary that serves, as far as this node may.
    pub fn come_back(&mut self, cx: &mut Context<'_>) {
        if !self.is_due(cx.now) {
            return;
        }
        self.again_at = None;
        let Some(primary) = cx.known.serving_primary(cx.now) else { return };
        if let Database::Standby { .. } = cx.known.facts.database
            && cx.known.is_in_sync()
        {
            // It is back, however that came.
            self.wanted = false;
            self.unfollowed = 0;
            self.told = 0;
            cx.set_handed_over(false);
        }
        if let Some(order) = self.next(cx.known, primary) {
            self.begin(cx.now);
            cx.act(Action::Database(order));
        }
    }

    fn next(&self, known: &Known, primary: NodeId) -> Option<Order> {
        let wanted = self.is_wanted(known);
        let follows = self.followed == Some(primary) && known.is_in_sync();
        match known.facts.database {
            Database::Standby { .. } if !wanted && !self.is_diverged() => {
                return (!follows).then_some(Order::Follow(primary));
            }
            // It may be about to answer, or not be observable: nothing is thrown away for that.
            Database::Unknown | Database::Unresponsive | Database::Primary(_) if !wanted => {
                return None;
            }
            // An operator's command is not what a pause holds back.
            _ if known.is_paused() && !wanted => return None,
            _ => {}
        }
        self.is_automatic(known).then_some(Order::Rejoin(primary))
    }

    /// What came of an attempt. What is to be done next the next observation says.
    pub fn did(&mut self, now: Instant, order: Order, ok: bool) {
        self.end(now, ok);
        match order {
            Order::Follow(_) if !ok => self.unfollowed = self.unfollowed.saturating_add(1),
            Order::Rejoin(_) if !ok => {
                self.again_at = Some(now + AGAIN * (1 << self.failures));
                self.failures = (self.failures + 1).min(MOST_AFTER_FAILURES);
            }
            Order::Follow(node) | Order::Rejoin(node) if ok => {
                self.failures = 0;
                self.wanted &= !matches!(order, Order::Rejoin(_));
                if self.followed != Some(node) {
                    self.told = 0;
                }
                self.followed = Some(node);
                self.unfollowed = 0;
                // Time to catch up, before it is told again.
                self.again_at = Some(now + AGAIN * (1 << self.told));
                self.told = (self.told + 1).min(MOST_AFTER_FOLLOWING);
            }
            _ => {}
        }
    }
}
