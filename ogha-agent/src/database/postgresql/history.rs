//! Timelines: where two histories of one cluster part (PostgreSQL's documentation, "Timelines").

use ogha_common::units::Lsn;

/// A timeline and where it ends: where the next one leaves it, or nowhere yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub timeline: u32,
    /// The position at which the next one begins; the greatest position for the last.
    pub end: Lsn,
}

/// The timelines of a server, the first one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History(Vec<Entry>);

/// Later than any position.
const NEVER: Lsn = Lsn::new(u64::MAX);

impl History {
    /// Reads the history file of a timeline: a line for each ancestor, its number, the position at
    /// which it was left, and a reason. The first timeline has no file.
    #[must_use]
    pub fn parse(timeline: u32, text: &str) -> Self {
        let ancestor = |line: &str| {
            let mut words = line.split_whitespace();
            let timeline = words.next()?.parse().ok()?;
            Some(Entry { timeline, end: Lsn::parse(words.next()?)? })
        };
        let mut entries: Vec<_> = text.lines().filter_map(ancestor).collect();
        entries.push(Entry { timeline, end: NEVER });
        Self(entries)
    }

    /// The last timeline that both have, begun at the same position, and where the first of them
    /// leaves it: the greatest position if neither has. `None` if they share no timeline.
    #[must_use]
    pub fn fork(&self, other: &Self) -> Option<Entry> {
        let mut common = None;
        let mut begins = (Lsn::default(), Lsn::default());
        for (ours, theirs) in self.0.iter().zip(&other.0) {
            if ours.timeline != theirs.timeline || begins.0 != begins.1 {
                break;
            }
            common = Some(Entry { timeline: ours.timeline, end: ours.end.min(theirs.end) });
            begins = (ours.end, theirs.end);
        }
        common
    }

    /// The timelines of this history behind a fork of it, each with where it begins.
    pub fn since(&self, fork: Entry) -> impl Iterator<Item = (u32, Lsn)> + '_ {
        let at = self.0.iter().position(|entry| entry.timeline == fork.timeline);
        let behind = self.0.iter().skip(at.unwrap_or(self.0.len()));
        let begins = std::iter::once(fork.end).chain(behind.clone().map(|entry| entry.end));
        behind.zip(begins).map(|(entry, begin)| (entry.timeline, begin))
    }
}

impl Entry {
    /// Whether neither history leaves the timeline.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.end == NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(text: &str) -> Lsn {
        Lsn::parse(text).unwrap()
    }

    fn fork(ours: (u32, &str), theirs: (u32, &str)) -> Option<(u32, Lsn)> {
        let (ours, theirs) = (History::parse(ours.0, ours.1), History::parse(theirs.0, theirs.1));
        assert_eq!(ours.fork(&theirs), theirs.fork(&ours));
        ours.fork(&theirs).map(|entry| (entry.timeline, entry.end))
    }

    const SECOND: &str = "1\t0/3000148\tno recovery target specified\n\n";
    const THIRD: &str = "1\t0/3000148\treason\n2\t0/5000000\treason\n";

    #[test]
    fn a_promoted_standby_leaves_the_old_timeline() {
        assert_eq!(fork((1, ""), (2, SECOND)), Some((1, lsn("0/3000148"))));
        assert_eq!(fork((1, ""), (3, THIRD)), Some((1, lsn("0/3000148"))));
        assert_eq!(fork((2, SECOND), (3, THIRD)), Some((2, lsn("0/5000000"))));
    }

    #[test]
    fn one_history_does_not_fork() {
        assert!(History::parse(2, SECOND).fork(&History::parse(2, SECOND)).unwrap().is_open());
        assert!(History::parse(1, "").fork(&History::parse(1, "")).unwrap().is_open());
    }

    #[test]
    fn two_promotions_to_one_number_at_different_positions_are_different_timelines() {
        let other = "1\t0/2000000\treason\n";
        assert_eq!(fork((2, SECOND), (2, other)), Some((1, lsn("0/2000000"))));
        assert_eq!(fork((3, THIRD), (2, other)), Some((1, lsn("0/2000000"))));
    }

    #[test]
    fn what_lies_behind_a_fork() {
        let own = History::parse(3, THIRD);
        let fork = Entry { timeline: 1, end: lsn("0/3000000") };
        let seen: Vec<_> = own.since(fork).collect();
        let expected = [(1, "0/3000000"), (2, "0/3000148"), (3, "0/5000000")];
        assert_eq!(seen, expected.map(|(timeline, from)| (timeline, lsn(from))));
        let last = Entry { timeline: 3, end: lsn("0/6000000") };
        assert_eq!(own.since(last).collect::<Vec<_>>(), [(3, lsn("0/6000000"))]);
    }

    #[test]
    fn nothing_in_common() {
        assert_eq!(fork((7, ""), (8, "")), None);
    }
}
