//! What is going to happen, by time.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Events in the order of their times; those of one time in the order in which they were put in.
#[derive(Debug)]
pub struct Queue<E> {
    order: BinaryHeap<Reverse<(u64, u64, u32)>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    count: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { order: BinaryHeap::new(), events: vec![], free: vec![], count: 0 }
    }
}

impl<E> Queue<E> {
    /// Something happens at that time.
    pub fn push(&mut self, at: u64, event: E) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() as u32 - 1
        });
        self.events[place as usize] = Some(event);
        self.count += 1;
        self.order.push(Reverse((at, self.count, place)));
    }

    /// What happens next, if it does by then.
    pub fn pop_by(&mut self, until: u64) -> Option<(u64, E)> {
        self.order.peek().filter(|Reverse((at, ..))| *at <= until)?;
        let Reverse((at, _, place)) = self.order.pop()?;
        self.free.push(place);
        Some((at, self.events[place as usize].take()?))
    }
}
