//! Processes summed by what they have in common, and stacks that several processes share.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::host::{Grouping, MemberRow, ProcessHost};
use super::{ProcessRow, StackRow};
use crate::symbolize::Frame;

/// Processes that have something in common. In JSON as it is here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupRow {
    /// What they have in common: the label of a container, unit or cgroup, or a user's name.
    pub key: String,
    /// How many.
    pub processes: u64,
    /// Their live bytes.
    pub live_bytes: u64,
    /// Their live blocks.
    pub live_count: u64,
    /// Bytes that they have allocated since the start.
    pub alloc_bytes: u64,
    /// Blocks that they have allocated since the start.
    pub alloc_count: u64,
    /// Growth of their live bytes, per minute: the sum over those of which it is known; `None` if there is none.
    pub growth_per_minute: Option<i64>,
    /// Their allocations per second; likewise.
    pub allocs_per_second: Option<f64>,
    /// Their resident memory in bytes; likewise. What they share counts for each.
    pub rss_bytes: Option<u64>,
}

/// The groups of processes, that with the most live bytes first; none by process and by stack, and of processes that
/// no host trace is about.
pub fn groups(processes: &[ProcessRow], by: Grouping) -> Vec<GroupRow> {
    let mut groups: BTreeMap<String, GroupRow> = BTreeMap::new();
    for (row, host) in processes
        .iter()
        .filter_map(|row| Some((row, row.host.as_ref()?)))
    {
        let Some(key) = key(&host.member, by) else {
            continue;
        };
        let group = groups
            .entry(key.clone())
            .or_insert_with(|| GroupRow::empty(key));
        group.add(row, host);
    }
    let mut groups: Vec<GroupRow> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse(group.live_bytes));
    groups
}

/// What a process has in common with others; `None` by process and by stack.
pub(super) fn key(member: &MemberRow, by: Grouping) -> Option<String> {
    match by {
        Grouping::Container => Some(member.place.label()),
        Grouping::User => Some(member.user.clone()),
        Grouping::Process | Grouping::Stack => None,
    }
}

impl GroupRow {
    fn empty(key: String) -> Self {
        Self {
            key,
            processes: 0,
            live_bytes: 0,
            live_count: 0,
            alloc_bytes: 0,
            alloc_count: 0,
            growth_per_minute: None,
            allocs_per_second: None,
            rss_bytes: None,
        }
    }

    fn add(&mut self, row: &ProcessRow, host: &ProcessHost) {
        self.processes += 1;
        self.live_bytes = self.live_bytes.saturating_add(row.live_bytes);
        self.live_count = self.live_count.saturating_add(row.live_count);
        self.alloc_bytes = self.alloc_bytes.saturating_add(row.alloc_bytes);
        self.alloc_count = self.alloc_count.saturating_add(row.alloc_count);
        add(
            &mut self.growth_per_minute,
            host.member.growth_per_minute,
            i64::saturating_add,
        );
        add(
            &mut self.allocs_per_second,
            host.allocs_per_second,
            |a, b| a + b,
        );
        add(&mut self.rss_bytes, host.rss_bytes, u64::saturating_add);
    }
}

/// Adds a value, where there is one.
pub(super) fn add<T: Copy>(sum: &mut Option<T>, value: Option<T>, plus: impl Fn(T, T) -> T) {
    *sum = match (*sum, value) {
        (Some(sum), Some(value)) => Some(plus(sum, value)),
        (sum, value) => sum.or(value),
    };
}

/// One row for each stack that several processes have in common: the same frames, and cut for the same reason. The row is
/// that of the process with the most live bytes on it, the others are its [`also`](StackRow::also). The rows come in the order
/// of their live bytes.
pub fn by_stack(mut stacks: Vec<StackRow>) -> Vec<StackRow> {
    stacks.sort_by_key(|stack| Reverse(stack.live_bytes));
    let mut merged = merge_equals(
        stacks,
        |stack| (&stack.frames, stack.truncated.as_deref()),
        merge,
    );
    merged.sort_by_key(|stack| Reverse(stack.live_bytes));
    merged
}

/// The rows with those of equal stacks merged into the first of them; they stay in order.
pub(super) fn merge_equals<S>(
    rows: Vec<S>,
    stack: impl Fn(&S) -> (&[Frame], Option<&str>),
    merge: impl Fn(&mut S, S),
) -> Vec<S> {
    let firsts = first_equals(rows.iter().map(stack));
    let mut merged: Vec<Option<S>> = Vec::with_capacity(rows.len());
    for (row, first) in rows.into_iter().zip(firsts) {
        match merged.get_mut(first) {
            Some(Some(into)) => {
                merge(into, row);
                merged.push(None);
            }
            Some(None) | None => merged.push(Some(row)),
        }
    }
    merged.into_iter().flatten().collect()
}

/// Adds a process to those `also` on a stack of `first`, if it is not known there yet.
pub(super) fn add_process(first: u32, also: &mut Vec<u32>, pid: u32) {
    if first != pid && !also.contains(&pid) {
        also.push(pid);
    }
}

/// For each stack the index of the first that is equal: its own, if none is. Stacks of which nothing is known are not one
/// and the same.
fn first_equals<'a>(stacks: impl Iterator<Item = (&'a [Frame], Option<&'a str>)>) -> Vec<usize> {
    let mut first: HashMap<(Vec<Code<'_>>, Option<&str>), usize> = HashMap::new();
    let equal = stacks.enumerate().map(|(index, (frames, truncated))| {
        if frames.is_empty() {
            return index;
        }
        let codes = frames.iter().map(code).collect();
        *first.entry((codes, truncated)).or_insert(index)
    });
    equal.collect()
}

/// What makes two frames of different processes the same: function, file and place in it. Addresses differ, as programs
/// are loaded anywhere; paths differ from one container to the next.
type Code<'a> = (Option<&'a str>, Option<&'a OsStr>, Option<u64>, bool);

fn code(frame: &Frame) -> Code<'_> {
    let name = || frame.module.as_deref().and_then(Path::file_name);
    let module = frame.build_id.as_deref().map(OsStr::new).or_else(name);
    let place = match (frame.offset, frame.module_offset) {
        _ if frame.inlined => frame.line.map(u64::from),
        (Some(offset), _) | (None, Some(offset)) => Some(offset),
        (None, None) => Some(frame.address),
    };
    (frame.symbol.as_deref(), module, place, frame.inlined)
}

fn merge(into: &mut StackRow, stack: StackRow) {
    add_process(into.pid, &mut into.also, stack.pid);
    for (sum, value) in [
        (&mut into.live_bytes, stack.live_bytes),
        (&mut into.live_count, stack.live_count),
        (&mut into.alloc_bytes, stack.alloc_bytes),
        (&mut into.alloc_count, stack.alloc_count),
        (&mut into.free_bytes, stack.free_bytes),
        (&mut into.free_count, stack.free_count),
    ] {
        *sum = sum.saturating_add(value);
    }
    add(
        &mut into.growth_bytes,
        stack.growth_bytes,
        i64::saturating_add,
    );
    add(&mut into.oldest_age, stack.oldest_age, Duration::max);
    into.blocks.extend(stack.blocks);
    into.blocks.sort_by_key(|block| Reverse(block.age));
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
