//! How figures of processes went on over the last minutes: a line for each, and how fast it grows.

use std::collections::{HashMap, VecDeque};

use super::data::Tab;
use crate::profile::trend::Fit;
use crate::profile::{Growth, Measure};

/// Points of a line: three minutes at one a second.
const KEPT: usize = 180;

/// The lines of all processes. Their points are of the same moments.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Seconds, oldest first.
    times: VecDeque<f64>,
    lines: HashMap<(u32, Tab), Course>,
}

/// The line of one figure of a process.
#[derive(Clone, Debug)]
struct Course {
    /// Name of the program: another one begins a new line.
    command: String,
    /// The figure: another one begins a new line.
    measure: Measure,
    /// The last ones are of the last moments.
    points: VecDeque<u64>,
    is_current: bool,
}

impl History {
    /// Begins the points of a moment.
    pub fn begin(&mut self, seconds: f64) {
        if self.times.len() == KEPT {
            self.times.pop_front();
        }
        self.times.push_back(seconds);
        self.lines
            .values_mut()
            .for_each(|line| line.is_current = false);
    }

    /// Adds the point of a process at this moment.
    pub fn push(&mut self, pid: u32, tab: Tab, command: &str, measure: Measure, value: u64) {
        let new = || Course {
            command: command.to_owned(),
            measure,
            points: VecDeque::new(),
            is_current: true,
        };
        let line = self.lines.entry((pid, tab)).or_insert_with(new);
        if line.measure != measure || line.command != command {
            *line = new();
        }
        if line.points.len() == KEPT {
            line.points.pop_front();
        }
        line.points.push_back(value);
        line.is_current = true;
    }

    /// Forgets processes that are not there any more.
    pub fn end(&mut self) {
        self.lines.retain(|_, line| line.is_current);
    }

    /// The points of a process, oldest first.
    pub fn points(&self, pid: u32, tab: Tab) -> Vec<u64> {
        let line = self.lines.get(&(pid, tab));
        line.map_or_else(Vec::new, |line| line.points.iter().copied().collect())
    }

    /// How fast a line rises; `None` below two points.
    pub fn growth(&self, pid: u32, tab: Tab) -> Option<Growth> {
        let points = &self.lines.get(&(pid, tab))?.points;
        let times = self
            .times
            .iter()
            .skip(self.times.len().saturating_sub(points.len()));
        let points = times
            .zip(points)
            .map(|(time, value)| (*time, *value as f64));
        let points: Vec<(f64, f64)> = points.collect();
        Some(Growth::of(&Fit::through(&points)?, false))
    }
}

/// Heights of so many cells, each from 0 to `most`, of a line: its lowest point is 0, its highest `most`. One that does
/// not move is at 0. Few points take few cells.
pub fn heights(points: &[u64], cells: usize, most: usize) -> Vec<usize> {
    let cells = cells.min(points.len());
    let last_of = |cell: usize| points.get((cell + 1) * points.len() / cells - 1);
    let shown: Vec<u64> = (0..cells)
        .filter_map(|cell| last_of(cell).copied())
        .collect();
    let low = points.iter().min().copied().unwrap_or(0);
    let high = points.iter().max().copied().unwrap_or(0);
    let height = |value: &u64| match u128::from(high - low) {
        0 => 0,
        range => (u128::from(value - low) * most as u128).div_ceil(range) as usize,
    };
    shown.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: &[u64]) -> History {
        let mut history = History::default();
        for (at, value) in values.iter().enumerate() {
            history.begin(at as f64);
            history.push(7, Tab::Heap, "app", Measure::HeapLiveBytes, *value);
            history.end();
        }
        history
    }

    #[test]
    fn the_last_minutes_are_kept() {
        let values: Vec<u64> = (0..500).map(|at| at * 1_000_000).collect();
        let history = history(&values);
        assert_eq!(history.points(7, Tab::Heap), values[320..]);
        let growth = history.growth(7, Tab::Heap).expect("a line");
        assert!((growth.per_min - 60e6).abs() < 1.0, "{growth:?}");
        assert!(history.growth(8, Tab::Heap).is_none());
    }

    #[test]
    fn another_program_or_figure_begins_anew() {
        let mut history = history(&[1, 2, 3]);
        history.begin(3.0);
        history.push(7, Tab::Heap, "app", Measure::ProcessTotalBytes, 9);
        history.end();
        assert_eq!(history.points(7, Tab::Heap), [9]);
        history.begin(4.0);
        history.push(7, Tab::Heap, "other", Measure::ProcessTotalBytes, 8);
        history.end();
        assert_eq!(history.points(7, Tab::Heap), [8]);
        history.begin(5.0);
        history.end();
        assert!(history.points(7, Tab::Heap).is_empty());
    }

    #[test]
    fn heights_span_the_cells() {
        assert_eq!(heights(&[5, 5, 5], 8, 7), [0, 0, 0]);
        assert_eq!(heights(&[0, 1, 2, 7], 8, 7), [0, 1, 2, 7]);
        assert_eq!(heights(&[0, 1, 2, 3, 4, 5, 6, 7], 4, 7), [1, 3, 5, 7]);
        assert_eq!(heights(&[], 4, 7), [0; 0]);
        assert_eq!(heights(&[0, u64::MAX], 1, 7), [7]);
    }
}
