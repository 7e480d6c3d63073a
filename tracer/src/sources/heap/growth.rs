//! How the memory of stacks and programs goes on: gathers their courses, judges them, and writes what follows.

use std::collections::HashMap;

use tracer_common::key::Owner;
use tracer_common::lifetime::OldFrees;

use super::Heap;
use super::courses::{Courses, Moment};
use super::figures::{Figures, Row};
use crate::engine::{Core, Snapshot};
use crate::profile::form::{self, Judged};
use crate::profile::machine::Figure;
use crate::profile::turnover::{self, Amounts, Sizes, Stack};
use crate::profile::{Ages, Form, Limit, LimitOf, Measure, NetGrowth, OldSizes, Subject, Values};
use crate::sources::machine::cgroups::Cgroups;
use crate::sources::machine::meminfo::Machine;
use crate::sources::machine::root::Root;

/// What is known of how memory goes on.
#[derive(Debug, Default)]
pub(super) struct Growths {
    courses: Courses,
    /// By program, as of the last report.
    programs: HashMap<Owner, Program>,
}

/// One program at a report.
#[derive(Clone, Debug)]
struct Program {
    judged: Judged,
    /// `None` where not every call is followed: then nothing is known of older blocks.
    net: Option<Net>,
    limit: Option<Limit>,
}

/// A program's net growth.
#[derive(Clone, Copy, Debug)]
struct Net {
    moment: Moment,
    /// Live blocks of the trace.
    blocks: u64,
    sizes: Sizes,
}

impl Heap {
    /// Takes in the counters, if it is time.
    pub(super) fn look_at_courses(&mut self, core: &Core) {
        let now = core.elapsed().as_secs_f64();
        if !self.growth.courses.is_due(now) {
            return;
        }
        self.walks.collect();
        let is_running = |owner: Owner| {
            let member = core.members.get(owner);
            member.is_some_and(|member| member.state.is_alive())
        };
        let mut totals = self.all_totals(core);
        totals.retain(|(_, owner, _)| is_running(*owner));
        let mut live: HashMap<Owner, u64> = HashMap::new();
        for (_, owner, totals) in &totals {
            *live.entry(*owner).or_default() +=
                totals.alloc_bytes.saturating_sub(totals.free_bytes);
        }
        let programs = live.into_iter().filter_map(|(owner, live)| {
            let old = self.old_frees(core, owner)?;
            Some((owner, Moment { live, old }))
        });
        self.growth.courses.look(
            now,
            &totals,
            programs.collect::<Vec<_>>(),
            |row| core.tracer.lifetimes(row),
            |owner| core.members.get(owner).is_some(),
        );
    }

    /// Released blocks that are older than the trace, of a program that runs.
    fn old_frees(&self, core: &Core, owner: Owner) -> Option<OldFrees> {
        let member = core
            .members
            .get(owner)
            .filter(|member| member.state.is_alive())?;
        let process = core.tracer.process(member.row)?;
        (process.owner == owner).then(|| core.tracer.old_frees(member.row))
    }

    /// Whether every block of a program is followed, so that a release that is not known is of one older than the
    /// trace.
    fn follows_all(&self, core: &Core, owner: Owner) -> bool {
        let options = &self.options;
        options.sample_bytes.is_none()
            && options.min_size == 0
            && options.max_size == u64::MAX
            && self.coarsest_interval(core, owner).is_none()
    }

    /// Judges the courses of all programs and stacks of a report.
    pub(super) fn judge_courses(&mut self, core: &Core, figures: &mut Figures) {
        let now = core.elapsed().as_secs_f64();
        let mut by_owner: HashMap<Owner, Vec<&mut Row>> = HashMap::new();
        for row in &mut figures.rows {
            by_owner.entry(row.owner).or_default().push(row);
        }
        let judge = |(owner, mut rows): (Owner, Vec<&mut Row>)| {
            let program = self.judge_program(core, owner, &mut rows, now);
            (owner, program)
        };
        self.growth.programs = by_owner.into_iter().map(judge).collect();
    }

    /// Judges the course of one program, and those of its stacks.
    fn judge_program(&self, core: &Core, owner: Owner, rows: &mut [&mut Row], now: f64) -> Program {
        let courses = &self.growth.courses;
        let live = rows.iter().map(|row| row.totals.live_bytes()).sum();
        let moment = self.old_frees(core, owner).map(|old| Moment { live, old });
        let is_running = moment.is_some();
        let net = match self.follows_all(core, owner) {
            true => moment.or_else(|| courses.last_of(owner)),
            false => None,
        };
        let net = net.map(|moment| Net {
            moment,
            blocks: rows.iter().map(|row| row.totals.live_count()).sum(),
            sizes: sizes_of(rows),
        });
        let value = |moment: &Moment| match &net {
            Some(net) => moment.net(&net.sizes),
            None => moment.live as f64,
        };
        let points = courses.of_program(owner, moment.map(|moment| (now, moment)), value);
        let mut judged = form::judge(&points);
        let amounts = net.map(|net| net.amounts(&points));
        if let Some(amounts) = &amounts {
            judged.form = turnover::of_process(&judged, amounts);
            judged.settle();
        }
        let mut stacks: Vec<Stack> = rows
            .iter()
            .map(|row| {
                let at = is_running.then_some((now, row.totals.live_bytes()));
                let (freed, all) = (row.totals.free_count, row.totals.alloc_count.max(1));
                Stack {
                    judged: form::judge(&courses.of_stack(owner, row.rows(), at)),
                    freed: freed as f64 / all as f64,
                }
            })
            .collect();
        if let Some(amounts) = &amounts {
            turnover::of_stacks(&judged, amounts, &mut stacks);
        }
        for (row, mut stack) in rows.iter_mut().zip(stacks) {
            stack.judged.settle();
            row.judged = Some(stack.judged);
        }
        Program {
            limit: limit_of(core, owner, &judged),
            judged,
            net,
        }
    }

    /// Blocks of a stack that were released, by age.
    pub(super) fn freed_ages(&self, core: &Core, row: &Row) -> Ages {
        let lifetimes = |row| core.tracer.lifetimes(row);
        self.growth.courses.freed(row.owner, row.rows(), lifetimes)
    }

    /// Adds how a program goes on.
    pub(super) fn describe_growth(&self, owner: Owner, subject: &mut Subject) {
        let Some(program) = self.growth.programs.get(&owner) else {
            return;
        };
        subject.course = Some(program.judged.course());
        subject.limit = program.limit;
        set_slope(&mut subject.totals, Some(&program.judged));
        if let Some(net) = &program.net {
            let bytes = net.moment.replaced(&net.sizes).round() as u64;
            subject.totals.set(Measure::HeapOldFreeBytes, bytes);
            subject
                .totals
                .set(Measure::HeapOldFreeBlocks, net.moment.old.blocks);
        }
    }

    /// Where the heap itself has grown by another amount, in sentences.
    pub(super) fn disagreements(&self) -> Vec<String> {
        let of_program = |(owner, program): (&Owner, &Program)| {
            let net = program.net?;
            self.disagreement(*owner, &net.moment, (net.blocks, net.sizes.slack))
        };
        let mut all: Vec<String> = self.growth.programs.iter().filter_map(of_program).collect();
        all.sort_unstable();
        all
    }

    /// What each program of a profile has grown by.
    pub(super) fn net_growths(&self, out: &Snapshot) -> Vec<NetGrowth> {
        let of_program = |(owner, program): (&Owner, &Program)| {
            let net = program.net;
            let (before, after) = self.walks.of(*owner);
            let has_old = net.is_some_and(|net| net.moment.old.blocks > 0);
            if !has_old && before.is_none() {
                return None;
            }
            Some(NetGrowth {
                subject: out.subject(*owner)?,
                bytes: net.map(|net| net.moment.net(&net.sizes).round() as i64),
                old_sizes: net.filter(|_| has_old).map(|net| net.old_sizes()),
                in_use_before_bytes: before,
                in_use_bytes: after,
            })
        };
        let mut all: Vec<NetGrowth> = self.growth.programs.iter().filter_map(of_program).collect();
        all.sort_by_key(|net| net.subject);
        all
    }
}

impl Net {
    /// Where the sizes of older blocks come from: mostly.
    fn old_sizes(&self) -> OldSizes {
        match self.moment.old.sized * 2 >= self.moment.old.blocks {
            true => OldSizes::Headers,
            false => OldSizes::Mean,
        }
    }

    /// `points` are the course of the net growth.
    fn amounts(&self, points: &[(f64, f64)]) -> Amounts {
        let values = || points.iter().map(|point| point.1);
        let range =
            values().fold(f64::NEG_INFINITY, f64::max) - values().fold(f64::INFINITY, f64::min);
        let seconds = match (points.first(), points.last()) {
            (Some(first), Some(last)) => (last.0 - first.0).max(1.0),
            _ => 1.0,
        };
        Amounts {
            live: self.moment.live as f64,
            replaced: self.moment.replaced(&self.sizes),
            unrest: range.max(0.0) / seconds,
        }
    }
}

/// Sizes of a program's blocks that are needed for those that are older than the trace.
fn sizes_of(rows: &[&mut Row]) -> Sizes {
    let sums = || rows.iter().filter_map(|row| row.sums.as_ref());
    let seen: u64 = sums().map(|sums| sums.samples).sum();
    let slack: u64 = sums().map(|sums| sums.slack).sum();
    let bytes: u64 = rows.iter().map(|row| row.totals.live_bytes()).sum();
    let blocks: u64 = rows.iter().map(|row| row.totals.live_count()).sum();
    let mean = |sum: u64, count: u64| sum as f64 / count as f64;
    Sizes {
        slack: match seen {
            0 => Sizes::USUAL_SLACK,
            seen => mean(slack, seen),
        },
        mean: match blocks {
            0 => 0.0,
            blocks => mean(bytes, blocks),
        },
    }
}

/// Sets the slope of a course, where it is known.
pub(super) fn set_slope(values: &mut Values, judged: Option<&Judged>) {
    let Some((slope, low, high)) = judged.and_then(Judged::slope) else {
        return;
    };
    let round = |value: f64| (value * 10.0).round() / 10.0;
    values.set(Measure::HeapGrowthPerS, round(slope));
    values.set(Measure::HeapGrowthPerSLow, round(low));
    values.set(Measure::HeapGrowthPerSHigh, round(high));
}

/// When a program that certainly grows comes to its limit.
fn limit_of(core: &Core, owner: Owner, judged: &Judged) -> Option<Limit> {
    let slope = judged.slope().filter(|(_, low, _)| *low > 0.0)?;
    if judged.form != Form::Growing {
        return None;
    }
    let member = core
        .members
        .get(owner)
        .filter(|member| member.state.is_alive())?;
    let root = Root::machine();
    let cgroup = Cgroups::left(&root, &member.place.cgroup).map(|left| (LimitOf::Cgroup, left));
    let machine = root
        .text("proc/meminfo")
        .and_then(|text| Machine::parse(text.as_bytes()).ok())
        .map(|memory| (LimitOf::Machine, memory.get(Figure::Available)));
    let (of, left) = cgroup
        .into_iter()
        .chain(machine)
        .min_by_key(|(_, left)| *left)?;
    Limit::reached(of, left, slope)
}
