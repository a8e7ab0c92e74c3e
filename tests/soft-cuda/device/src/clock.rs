//! Which work comes before which: vector clocks over streams.

use crate::emulator::Range;
use std::collections::BTreeMap;

/// A place in a stream: its id, and how much work of it has been queued up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The stream.
    pub stream: u64,
    /// The work's number in it, from 1.
    pub number: u64,
}

/// A place in a stream, with what comes before it and itself.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The place.
    pub point: Point,
    /// Everything up to it.
    pub clock: Clock,
}

/// For each stream, up to which number its work is known to come before.
#[derive(Clone, Debug, Default)]
pub struct Clock(BTreeMap<u64, u64>);

impl Clock {
    /// Whether the work at a point comes before.
    pub fn covers(&self, point: Point) -> bool {
        self.get(point.stream) >= point.number
    }

    /// Up to which number the work of a stream comes before.
    pub fn get(&self, stream: u64) -> u64 {
        self.0.get(&stream).copied().unwrap_or(0)
    }

    /// Adds the work up to a point.
    pub fn advance(&mut self, point: Point) {
        let known = self.0.entry(point.stream).or_insert(0);
        *known = (*known).max(point.number);
    }

    /// Adds all that another clock knows.
    pub fn join(&mut self, other: &Clock) {
        for (stream, number) in &other.0 {
            self.advance(Point {
                stream: *stream,
                number: *number,
            });
        }
    }

    /// Forgets a stream that exists no more.
    pub fn forget(&mut self, stream: u64) {
        self.0.remove(&stream);
    }
}

/// Work that has run, with the serials it took: what a later access may have to be compared with.
#[derive(Debug, Default)]
pub struct History(BTreeMap<u64, Vec<(u64, Range)>>);

impl History {
    /// Adds work with the serials that it took.
    pub fn add(&mut self, point: Point, serials: Range) {
        self.0
            .entry(point.stream)
            .or_default()
            .push((point.number, serials));
    }

    /// The serials of all work that does not come before one at `point` whose clock is given.
    pub fn unordered(&self, point: Point, clock: &Clock) -> Vec<Range> {
        let mut ranges = vec![];
        for (stream, done) in self.0.iter().filter(|(stream, _)| **stream != point.stream) {
            let known = clock.get(*stream);
            let late = done.iter().rev().take_while(|work| work.0 > known);
            ranges.extend(late.map(|work| work.1));
        }
        ranges
    }

    /// Forgets what comes before everything from now on.
    pub fn forget(&mut self, clock: &Clock) {
        self.0.retain(|stream, done| {
            let known = clock.get(*stream);
            done.retain(|work| work.0 > known);
            !done.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stream: u64, number: u64) -> Point {
        Point { stream, number }
    }

    fn serials(first: u32, last: u32) -> Range {
        Range { first, last }
    }

    #[test]
    fn work_of_another_stream_is_unordered_until_a_clock_covers_it() {
        let mut history = History::default();
        history.add(at(1, 1), serials(10, 19));
        history.add(at(1, 2), serials(20, 29));
        history.add(at(2, 1), serials(30, 30));
        let mut clock = Clock::default();
        assert_eq!(
            history.unordered(at(2, 2), &clock),
            [serials(20, 29), serials(10, 19)]
        );
        clock.advance(at(1, 1));
        assert_eq!(history.unordered(at(2, 2), &clock), [serials(20, 29)]);
        clock.advance(at(1, 2));
        assert!(history.unordered(at(2, 2), &clock).is_empty());
        assert_eq!(history.unordered(at(3, 1), &clock), [serials(30, 30)]);
        history.forget(&clock);
        assert_eq!(
            history.unordered(at(3, 1), &Clock::default()),
            [serials(30, 30)]
        );
    }
}
