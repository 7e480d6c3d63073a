//! Address spaces summed by what their processes have in common, and stacks that several processes share.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Amount, SpaceProcess, SpaceStack};
use crate::report::Grouping;
use crate::report::group::{add, add_process, key, merge_equals};
use crate::space::Kind;

/// Processes that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceGroup {
    /// What they have in common: the label of a container, unit or cgroup, or a user's name.
    pub key: String,
    /// How many.
    pub processes: u64,
    /// Their address spaces.
    pub amount: Amount,
    /// Whether what is in memory is known of any.
    pub measured: bool,
    /// By kind.
    pub kinds: BTreeMap<Kind, Amount>,
    /// Growth of their mapped bytes, per minute: the sum over those of which it is known; `None` if there is none.
    pub growth_per_minute: Option<i64>,
}

/// The groups of processes, that with the most resident bytes first; none by process and by stack, and of processes that
/// no host trace is about.
pub fn groups(processes: &[SpaceProcess], by: Grouping) -> Vec<SpaceGroup> {
    let mut groups: BTreeMap<String, SpaceGroup> = BTreeMap::new();
    for row in processes {
        let Some(host) = &row.host else { continue };
        let Some(key) = key(&host.member, by) else {
            continue;
        };
        let group = groups.entry(key.clone()).or_insert_with(|| SpaceGroup {
            key,
            processes: 0,
            amount: Amount::default(),
            measured: false,
            kinds: BTreeMap::new(),
            growth_per_minute: None,
        });
        group.processes += 1;
        group.measured |= row.measured;
        group.amount.add(&row.amount);
        for (kind, amount) in &row.kinds {
            group.kinds.entry(*kind).or_default().add(amount);
        }
        add(
            &mut group.growth_per_minute,
            host.member.growth_per_minute,
            i64::saturating_add,
        );
    }
    let mut groups: Vec<SpaceGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse((group.amount.resident, group.amount.mapped)));
    groups
}

/// One row for each stack that several processes have in common: the same frames, and cut for the same reason. The row is
/// that of the first process, the others are its [`also`](SpaceStack::also). The rows come in the order of their resident bytes.
pub fn by_stack(stacks: Vec<SpaceStack>) -> Vec<SpaceStack> {
    let mut merged = merge_equals(
        stacks,
        |stack| (&stack.frames, stack.truncated.as_deref()),
        merge,
    );
    merged.sort_by_key(|stack| {
        let amount = stack.amount;
        Reverse((amount.resident + amount.swapped, amount.mapped))
    });
    merged
}

fn merge(into: &mut SpaceStack, stack: SpaceStack) {
    add_process(into.pid, &mut into.also, stack.pid);
    into.amount.add(&stack.amount);
    into.measured |= stack.measured;
    for kind in stack.kinds {
        if !into.kinds.contains(&kind) {
            into.kinds.push(kind);
        }
    }
    for file in stack.files {
        if !into.files.contains(&file) {
            into.files.push(file);
        }
    }
    into.mapped_total = into.mapped_total.saturating_add(stack.mapped_total);
    into.unmapped_total = into.unmapped_total.saturating_add(stack.unmapped_total);
    add(&mut into.growth, stack.growth, i64::saturating_add);
    into.oldest = into.oldest.max(stack.oldest);
}
