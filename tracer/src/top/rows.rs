//! The rows of the table: a process each, or what they are grouped by, of the machine and of the traces together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use super::data::{Data, Tab};
use crate::analysis::verdict::{self, Class};
use crate::profile::machine::By;
use crate::profile::trend::Verdict;
use crate::profile::{Form, Growth, Measure, Profile, Source, Subject};
use crate::words::clean::clean;

/// What a row is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A process.
    Process(u32),
    /// All processes that have something in common: a name, a container, a user.
    Group(String),
}

/// How something grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rising {
    /// Bytes a minute; `None` where that is not known.
    pub per_min: Option<f64>,
    /// Bytes a minute that it grows by at least, as far as 95 % go; 0 where it does not certainly grow.
    pub at_least: f64,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is of.
    pub key: Key,
    /// Its name.
    pub name: String,
    /// Number of processes.
    pub processes: u64,
    /// Container, unit or cgroup.
    pub place: String,
    /// Who runs it.
    pub user: String,
    /// Whether it is traced.
    pub is_traced: bool,
    /// Whether it runs.
    pub is_alive: bool,
    /// Live bytes of the heap, or mapped bytes; `None` where that is not known.
    pub level: Option<u64>,
    /// Allocations, or calls that map, a second.
    pub rate: Option<f64>,
    /// Resident memory.
    pub rss: Option<u64>,
    /// How it grows.
    pub growth: Rising,
    /// The figure that growth is about, and its value.
    pub followed: (Measure, u64),
    /// What it is, in a word or two.
    pub verdict: &'static str,
    /// Whether the verdict asks for attention.
    pub is_pressing: bool,
    /// Its last minutes.
    pub course: Vec<u64>,
}

/// Columns to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sort {
    /// What is traced first, then what certainly grows most, then the largest.
    #[default]
    Growth,
    /// Most live, or mapped, first.
    Level,
    /// Most allocations first.
    Rate,
    /// Most resident memory first.
    Rss,
    /// By name.
    Name,
    /// By PID.
    Pid,
}

impl Sort {
    const ALL: [Self; 6] = [
        Self::Growth,
        Self::Level,
        Self::Rate,
        Self::Rss,
        Self::Name,
        Self::Pid,
    ];

    /// The next one; after the last the first.
    pub fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// All rows, in no order.
pub fn all(data: &Data, tab: Tab, by: By) -> Vec<Row> {
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    let machine = data.machine.iter().flat_map(|machine| &machine.subjects);
    for subject in machine {
        if let Some(pid) = subject.pid {
            seen.insert(pid);
            rows.push(row(data, tab, pid, Some(subject)));
        }
    }
    // Those that have ended, or are younger than the last look at the machine.
    for (_, profile) in data.processes() {
        for pid in profile.subjects.iter().filter_map(|subject| subject.pid) {
            if seen.insert(pid) {
                rows.push(row(data, tab, pid, None));
            }
        }
    }
    match by {
        By::Process => rows,
        by => grouped(rows, by),
    }
}

/// The row of a process.
pub fn of_process(data: &Data, tab: Tab, pid: u32) -> Row {
    let process = data
        .machine
        .as_ref()
        .and_then(|machine| machine.process(pid));
    row(data, tab, pid, process)
}

/// What a process is grouped by.
pub fn group_of(row: &Row, by: By) -> String {
    match by {
        By::Process | By::Name => row.name.clone(),
        By::Container => row.place.clone(),
        By::User => row.user.clone(),
    }
}

/// Whether a row has a text in its name, PID, container or user. The text is in lower case.
pub fn matches(row: &Row, text: &str) -> bool {
    let pid = match row.key {
        Key::Process(pid) => pid.to_string(),
        Key::Group(_) => String::new(),
    };
    let own = [&row.name, &pid, &row.place, &row.user];
    own.iter().any(|own| own.to_lowercase().contains(text))
}

/// Sorts rows; `is_reversed` the other way round.
pub fn sort(rows: &mut [Row], by: Sort, is_reversed: bool, grown: impl Fn(&Row) -> Option<i64>) {
    // Sizes are not negative, and as integers they have a total order.
    let whole = |value: f64| value as i64;
    rows.sort_by_cached_key(|row| {
        let size = row.level.max(row.rss).unwrap_or(0);
        let certain = grown(row).unwrap_or(whole(row.growth.at_least));
        let (first, second) = match by {
            Sort::Growth => (i64::from(row.is_traced), certain),
            Sort::Level => (row.level.map_or(-1, saturated), 0),
            Sort::Rate => (row.rate.map_or(-1, |rate| whole(rate * 10.0)), 0),
            Sort::Rss => (row.rss.map_or(-1, saturated), 0),
            Sort::Name | Sort::Pid => (0, 0),
        };
        let name = match by {
            Sort::Name => row.name.to_lowercase(),
            _ => String::new(),
        };
        let size = match by {
            Sort::Name | Sort::Pid => 0,
            _ => size,
        };
        (
            Reverse((first, second)),
            name,
            Reverse(size),
            row.key.clone(),
        )
    });
    if is_reversed {
        rows.reverse();
    }
}

fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The row of a process, of which the machine, a trace or both know something.
fn row(data: &Data, tab: Tab, pid: u32, process: Option<&Subject>) -> Row {
    let traced = data.traced(pid);
    let traced = traced.and_then(|(of, index)| Some((of, index, of.subject(index)?)));
    let none = Subject::default();
    let subject = process.or(traced.map(|(_, _, own)| own)).unwrap_or(&none);
    let figures = match (tab, traced) {
        (Tab::Heap, Some((of, index, own))) if own.totals.get(Measure::HeapLiveBytes).is_some() => {
            heap(of, index, own)
        }
        (Tab::Heap, _) => untraced(subject, Measure::ProcessTotalBytes),
        (_, Some((_, _, own))) if own.totals.get(Measure::VmMappedBytes).is_some() => {
            space(data, pid, own)
        }
        _ => untraced(subject, Measure::ProcessVirtualBytes),
    };
    let rss = subject.totals.get(Measure::ProcessRssBytes);
    let mut row = Row {
        key: Key::Process(pid),
        name: clean(&subject.command).into_owned(),
        processes: 1,
        place: match subject.place.cgroup.is_empty() {
            true => String::new(),
            false => clean(&subject.place.label()).into_owned(),
        },
        user: clean(subject.user.as_deref().unwrap_or_default()).into_owned(),
        is_traced: traced.is_some(),
        is_alive: process.is_some() || subject.state.is_alive(),
        rss: rss.map(|rss| rss.whole().max(0).cast_unsigned()),
        course: data.history.points(pid, tab),
        ..figures
    };
    if !row.is_alive {
        (row.verdict, row.is_pressing) = (subject.state.word(), false);
    }
    row
}

impl Default for Row {
    fn default() -> Self {
        Self {
            key: Key::Process(0),
            name: String::new(),
            processes: 0,
            place: String::new(),
            user: String::new(),
            is_traced: false,
            is_alive: true,
            level: None,
            rate: None,
            rss: None,
            growth: Rising::default(),
            followed: (Measure::ProcessTotalBytes, 0),
            verdict: "",
            is_pressing: false,
            course: Vec::new(),
        }
    }
}

/// What is known of a process that is not traced.
fn untraced(subject: &Subject, measure: Measure) -> Row {
    let growth = subject.growth.get(&measure);
    let amount = subject.totals.amount(measure);
    Row {
        level: (measure == Measure::ProcessVirtualBytes).then_some(amount),
        growth: rising(growth),
        followed: (measure, amount),
        verdict: growth.map_or("", |growth| growth.verdict.name()),
        ..Row::default()
    }
}

/// What is known of a process whose heap is traced.
fn heap(profile: &Profile, index: u32, subject: &Subject) -> Row {
    let real = |measure| subject.totals.get(measure).map(|value| value.real());
    let per_s = real(Measure::HeapGrowthPerS);
    let low = real(Measure::HeapGrowthPerSLow);
    let (verdict, is_pressing) = heap_verdict(profile, index, subject);
    let live = subject.totals.amount(Measure::HeapLiveBytes);
    Row {
        level: Some(live),
        rate: real(Measure::HeapAllocsPerS),
        growth: Rising {
            per_min: per_s
                .map(|per_s| per_s * 60.0)
                .or_else(|| real(Measure::HeapGrowthPerMin)),
            at_least: low.unwrap_or(0.0).max(0.0) * 60.0,
        },
        followed: (Measure::HeapLiveBytes, live),
        verdict,
        is_pressing,
        ..Row::default()
    }
}

/// What is known of a process whose address space is traced.
fn space(data: &Data, pid: u32, subject: &Subject) -> Row {
    let mapped = subject.totals.amount(Measure::VmMappedBytes);
    let growth = data.history.growth(pid, Tab::Space);
    let calls = subject.totals.get(Measure::VmCallsPerS);
    Row {
        level: Some(mapped),
        rate: calls.map(|rate| rate.real()),
        growth: rising(growth.as_ref()),
        followed: (Measure::VmMappedBytes, mapped),
        verdict: growth.map_or("", |growth| growth.verdict.name()),
        is_pressing: false,
        ..Row::default()
    }
}

fn rising(growth: Option<&Growth>) -> Rising {
    let Some(growth) = growth else {
        return Rising::default();
    };
    let is_growing = growth.verdict == Verdict::Growing;
    Rising {
        per_min: Some(growth.per_min),
        at_least: if is_growing { growth.certain } else { 0.0 },
    }
}

/// What the heap of a process is: by its stacks, where one of them asks for attention, or else by its course.
fn heap_verdict(profile: &Profile, index: u32, subject: &Subject) -> (&'static str, bool) {
    let own = profile
        .stack_samples(Source::Heap)
        .filter(|sample| sample.subject == index);
    let worst = own.map(|sample| verdict::class(profile, sample)).min();
    let is_pressing = |class: &Class| {
        use Class::{Collection, Growing, Leak, Load, Lost};
        matches!(class, Leak | Collection | Growing | Load | Lost)
    };
    let pressing = worst.filter(is_pressing).and_then(Class::kind);
    match pressing.and_then(verdict::mark) {
        Some(mark) => (short(mark), true),
        None => (
            subject
                .course
                .map_or(Form::TooEarly.name(), |course| course.form.name()),
            false,
        ),
    }
}

/// A verdict in one word, where it has several and one will do.
pub fn short(mark: &'static str) -> &'static str {
    match mark {
        "collection that never shrinks" => "collection",
        "cache or warm-up" => "cache",
        mark => mark,
    }
}

/// Sums of the rows that have something in common.
fn grouped(rows: Vec<Row>, by: By) -> Vec<Row> {
    let mut groups: BTreeMap<String, Row> = BTreeMap::new();
    for row in rows {
        let name = group_of(&row, by);
        let group = groups.entry(name.clone()).or_insert_with(|| Row {
            key: Key::Group(name.clone()),
            name: match name.is_empty() {
                true => "-".to_owned(),
                false => name,
            },
            followed: (row.followed.0, 0),
            ..Row::default()
        });
        join(group, row);
    }
    groups.into_values().collect()
}

fn join(group: &mut Row, row: Row) {
    let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
    };
    group.processes += 1;
    group.is_traced |= row.is_traced;
    group.level = sum(group.level, row.level);
    group.rss = sum(group.rss, row.rss);
    group.rate = match (group.rate, row.rate) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0.0) + other.unwrap_or(0.0)),
    };
    group.growth = Rising {
        per_min: match (group.growth.per_min, row.growth.per_min) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0.0) + other.unwrap_or(0.0)),
        },
        at_least: group.growth.at_least + row.growth.at_least,
    };
    group.followed.1 = group.followed.1.saturating_add(row.followed.1);
    if row.is_pressing && !group.is_pressing || group.verdict.is_empty() {
        (group.verdict, group.is_pressing) = (row.verdict, row.is_pressing);
    }
    // The last points are of the same moment.
    let (own, other) = (&mut group.course, row.course);
    if own.len() < other.len() {
        let missing = other.len() - own.len();
        own.splice(0..0, std::iter::repeat_n(0, missing));
    }
    let pairs = own.iter_mut().rev().zip(other.iter().rev());
    pairs.for_each(|(own, other)| *own = own.saturating_add(*other));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pid: u32, name: &str, rss: u64, per_min: f64) -> Row {
        Row {
            key: Key::Process(pid),
            name: name.into(),
            processes: 1,
            rss: Some(rss),
            growth: Rising {
                per_min: Some(per_min),
                at_least: per_min.max(0.0),
            },
            course: vec![rss; pid as usize],
            ..Row::default()
        }
    }

    fn order(by: Sort, is_reversed: bool) -> Vec<u32> {
        let mut rows = vec![
            named(1, "b", 10, 5.0),
            named(2, "a", 30, -5.0),
            named(3, "c", 20, 0.0),
        ];
        rows[2].is_traced = true;
        sort(&mut rows, by, is_reversed, |_| None);
        let pid = |row: &Row| match row.key {
            Key::Process(pid) => pid,
            Key::Group(_) => 0,
        };
        rows.iter().map(pid).collect()
    }

    #[test]
    fn rows_are_sorted() {
        assert_eq!(order(Sort::Growth, false), [3, 1, 2]);
        assert_eq!(order(Sort::Rss, false), [2, 3, 1]);
        assert_eq!(order(Sort::Rss, true), [1, 3, 2]);
        assert_eq!(order(Sort::Name, false), [2, 1, 3]);
        assert_eq!(order(Sort::Pid, false), [1, 2, 3]);
        let all: Vec<Sort> = std::iter::successors(Some(Sort::Growth), |sort| Some(sort.next()))
            .take(7)
            .collect();
        assert_eq!(all[6], Sort::Growth);
    }

    #[test]
    fn groups_are_sums() {
        let rows = vec![
            named(1, "a", 10, 5.0),
            named(3, "a", 30, -2.0),
            named(2, "b", 7, 0.0),
        ];
        let groups = grouped(rows, By::Name);
        assert_eq!(groups.len(), 2);
        let first = &groups[0];
        assert_eq!((first.processes, first.rss), (2, Some(40)));
        assert_eq!(first.growth.per_min, Some(3.0));
        assert_eq!(first.course, [30, 30, 40]);
        assert!(matches(first, "a") && !matches(first, "x"));
    }
}
