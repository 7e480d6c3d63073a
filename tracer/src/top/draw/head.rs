//! The head: the machine's memory, what the view itself costs, and where one is.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use super::{put, width};
use crate::profile::machine::Figure;
use crate::profile::{Measure, Profile, Subject};
use crate::top::data::{Data, Tab};
use crate::top::rows::Row;
use crate::top::state::{App, Phase, Place};
use crate::words::clean::clean;
use crate::words::units::{
    bytes, change, counted, counted_processes, duration, percent, rate, share,
};
use crate::words::{elide, names};

/// Columns of the bar.
const BAR: (usize, usize) = (8, 40);
/// Below this width words are shorter.
const NARROW: usize = 80;
/// Columns between two parts.
const GAP: usize = 3;

/// Draws the head.
pub fn draw(app: &App, theme: &Theme, area: Rect, out: &mut Buffer) {
    put(out, area, 0, memory(app, theme, width(area)));
    put(out, area, 1, costs(app, theme, width(area)));
    put(out, area, 2, place(app, theme, width(area)));
}

/// As many of the parts as fit, in their order, the last one at the right end.
fn joined(parts: Vec<Vec<Span<'static>>>, last: Span<'static>, width: usize) -> Line<'static> {
    let columns = |part: &[Span<'_>]| part.iter().map(|span| span.width()).sum::<usize>();
    let mut left = width.saturating_sub(last.width());
    let mut spans: Vec<Span<'static>> = Vec::new();
    for part in parts {
        let gap = if spans.is_empty() { 0 } else { GAP };
        let needed = columns(&part) + gap;
        // The last part keeps its distance.
        if needed + GAP > left {
            break;
        }
        left -= needed;
        spans.push(Span::raw(" ".repeat(gap)));
        spans.extend(part);
    }
    spans.push(Span::raw(" ".repeat(left)));
    spans.push(last);
    Line::from(spans)
}

/// The machine's memory, and the time.
fn memory(app: &App, theme: &Theme, width: usize) -> Line<'static> {
    let data = app.shown();
    let Some((profile, machine)) = data.machine.as_ref().zip(data.machine()) else {
        return Line::raw("memlens top: looking at the machine");
    };
    let time = profile.meta.time.to_zoned(app.settings.time_zone.clone());
    let time = Span::raw(time.strftime("%H:%M:%S").to_string());
    let size = |figure| machine.figure(figure).bytes;
    let (total, available) = (size(Figure::Total), size(Figure::Available));
    let used = total.saturating_sub(available);
    let host = Span::styled(clean(&profile.meta.host).into_owned(), theme.strong);
    let words = format!(
        "{} of {} used ({}), {} available",
        bytes(used),
        bytes(total),
        share(used, total),
        bytes(available)
    );
    if width < NARROW {
        let words = format!("{} of {} used", bytes(used), bytes(total));
        return joined(vec![vec![host], vec![Span::raw(words)]], time, width);
    }
    let swap = match size(Figure::SwapTotal) {
        0 => "no swap".to_owned(),
        of => format!("swap {} of {}", bytes(size(Figure::Swap)), bytes(of)),
    };
    let taken = host.width() + words.len() + swap.len() + time.width() + 4 * GAP + 1;
    let cells = width.saturating_sub(taken).clamp(BAR.0, BAR.1);
    let parts = vec![
        vec![host],
        vec![
            Span::raw(bar(used, total, cells, theme)),
            Span::raw(" "),
            Span::raw(words),
        ],
        vec![Span::raw(swap)],
    ];
    joined(parts, time, width)
}

/// A bar of so many cells, filled as far as a part of a whole.
fn bar(part: u64, whole: u64, cells: usize, theme: &Theme) -> String {
    let full = (u128::from(part) * cells as u128 / u128::from(whole.max(1))) as usize;
    let full = full.min(cells);
    theme.bar.0.repeat(full) + &theme.bar.1.repeat(cells - full)
}

/// Waiting for memory, and what the traces cost.
fn costs(app: &App, theme: &Theme, width: usize) -> Line<'static> {
    let data = app.shown();
    let Some(machine) = data.machine() else {
        return Line::default();
    };
    let pressing = |is_so: bool| {
        if is_so {
            theme.pressing
        } else {
            Default::default()
        }
    };
    let waited = machine.pressure.map(|pressure| {
        let text = format!(
            "{}some {:.2}%, full {:.2}%",
            if width < NARROW {
                "PSI "
            } else {
                "memory pressure (PSI): "
            },
            pressure.some.avg10,
            pressure.full.avg10
        );
        vec![Span::styled(text, pressing(pressure.full.avg10 >= 1.0))]
    });
    let kills = machine.oom_kills_new.filter(|kills| *kills > 0);
    let kills = kills.map(|kills| {
        let text = format!("{} new", counted(kills, "OOM kill"));
        vec![Span::styled(text, theme.pressing)]
    });
    let seen = vec![Span::raw(counted_processes(machine.processes_total as u64))];
    let room = width.saturating_sub(waited.iter().flatten().map(Span::width).sum::<usize>() + GAP);
    let long = own_cost(data, false);
    let cost = match elide::columns(&long) <= room {
        true => long,
        false => own_cost(data, true),
    };
    let cost = Span::styled(cost, theme.faint);
    let parts = waited.into_iter().chain(kills).chain([seen]).collect();
    joined(parts, cost, width)
}

/// What memlens has resident, and what its probes cost.
fn own_cost(data: &Data, is_narrow: bool) -> String {
    let own = data.own_rss.map(|rss| format!("memlens {}", bytes(rss)));
    let profiles = || data.processes().map(|(_, profile)| profile);
    let is_named = profiles().all(|profile| profile.sections.host_wide.is_none());
    let subjects = profiles().flat_map(|profile| &profile.subjects);
    let priced = subjects.filter_map(|own| Some((own, own.probe_percent?)));
    let dearest = priced
        .filter(|_| is_named)
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    let probes = match dearest {
        Some((own, cost)) => Some(format!(
            "probes {}{}",
            percent(cost),
            match is_narrow {
                true => String::new(),
                false => format!(" of the CPU time of {}", clean(&names::process(own))),
            }
        )),
        None => of_machine(profiles()),
    };
    let parts: Vec<String> = probes.into_iter().chain(own).collect();
    parts.join("; ")
}

/// What the probes of a scope cost.
fn of_machine<'a>(profiles: impl Iterator<Item = &'a std::sync::Arc<Profile>>) -> Option<String> {
    let guards = profiles.filter_map(|profile| profile.sections.guard.as_ref());
    let cost: f64 = guards
        .map(|guard| guard.cost_percent)
        .reduce(|one, other| one + other)?;
    Some(format!("probes {} of the machine", percent(cost)))
}

/// The tabs, and what the list is of.
fn place(app: &App, theme: &Theme, width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    for tab in Tab::ALL {
        let (text, style) = match tab == app.tab {
            true => (format!("[{}]", tab.name()), theme.strong),
            false => (format!(" {} ", tab.name()), theme.faint),
        };
        spans.push(Span::styled(text, style));
    }
    let tabs: usize = spans.iter().map(|span| span.width()).sum();
    let mut state = String::new();
    if app.is_held() {
        state += "HELD";
    }
    let left = width.saturating_sub(tabs + GAP + state.len() + GAP);
    let what = fitting(what(app), left);
    let padding = left.saturating_sub(elide::columns(&what)) + GAP;
    spans.push(Span::raw(" ".repeat(GAP)));
    spans.push(Span::raw(what));
    spans.push(Span::raw(" ".repeat(padding)));
    spans.push(Span::styled(state, theme.pressing));
    Line::from(spans)
}

/// As many of the parts as fit, the first one in any case.
fn fitting(parts: Vec<String>, width: usize) -> String {
    let mut text = String::new();
    for part in parts {
        let longer = match text.is_empty() {
            true => elide::middle(&part, width),
            false => format!("{text}, {part}"),
        };
        if elide::columns(&longer) <= width {
            text = longer;
        }
    }
    text
}

/// What the list is of, and what is left out.
fn what(app: &App) -> Vec<String> {
    let mut parts = match (app.tab, &app.place) {
        (Tab::Kernel, _) => of_kernel(app),
        (_, Place::Process(pid)) => of_process(app, *pid),
        (_, Place::Group(name)) => vec![format!("processes of {}", clean(name))],
        (_, Place::Machine) => of_table(app),
    };
    if !app.filter().is_empty() {
        parts.push(format!("with \"{}\"", clean(app.filter())));
    }
    if app.has_stacks() && !app.older.is_zero() {
        parts.push(format!("blocks older than {}", duration(app.older)));
    }
    parts
}

fn of_table(app: &App) -> Vec<String> {
    let traced = app.settings.target.as_ref();
    let phase = app.phases.get(&crate::top::TraceId::Target);
    let how = match phase {
        Some(Phase::Starting) => "placing probes in",
        Some(Phase::Failed(_)) => "cannot trace",
        Some(Phase::Ended) => "traced",
        _ => "tracing",
    };
    let by = app.settings.by.name();
    let mut parts = vec![match by {
        "process" => "processes".to_owned(),
        by => format!("by {by}"),
    }];
    parts.extend(traced.map(|words| format!("{how} {}", clean(words))));
    parts
}

fn of_process(app: &App, pid: u32) -> Vec<String> {
    let data = app.shown();
    let traced = data.traced(pid);
    let own = traced.and_then(|(profile, index)| profile.subject(index));
    let machine = data
        .machine
        .as_ref()
        .and_then(|machine| machine.process(pid));
    let Some(subject) = own.or(machine) else {
        return vec![format!("process {pid}")];
    };
    let mut parts = vec![clean(&names::process(subject)).into_owned()];
    match (app.tab, own) {
        (Tab::Heap, Some(own)) => {
            if own.totals.get(Measure::HeapLiveBytes).is_none() {
                parts.push("heap not traced".to_owned());
                return parts;
            }
            parts.push(live(own));
            parts.extend(app.row_of(pid).map(growth));
            let allocs = own.totals.get(Measure::HeapAllocsPerS);
            parts.extend(allocs.map(|allocs| format!("{} allocs/s", rate(allocs.real()))));
        }
        (_, Some(own)) => parts.extend(space_figures(own)),
        (_, None) => parts.push("placing probes".to_owned()),
    }
    parts
}

fn live(own: &Subject) -> String {
    let amount = |measure| own.totals.amount(measure);
    format!(
        "{} live in {}",
        bytes(amount(Measure::HeapLiveBytes)),
        counted(amount(Measure::HeapLiveBlocks), "block")
    )
}

/// How the heap grows, and what that is.
fn growth(row: Row) -> String {
    let rising = row.growth;
    let growth = match (rising.per_min, rising.at_least > 0.0) {
        (None, _) => return row.verdict.to_owned(),
        (Some(per_min), false) => format!("{}/min", change(per_min.round() as i64)),
        (Some(per_min), true) => format!(
            "{}/min >= {}",
            change(per_min.round() as i64),
            bytes(rising.at_least.round() as u64)
        ),
    };
    format!("{growth}, {}", row.verdict)
}

fn space_figures(own: &Subject) -> Vec<String> {
    let amount = |measure| bytes(own.totals.amount(measure));
    let mut parts = vec![format!("{} mapped", amount(Measure::VmMappedBytes))];
    if own.totals.get(Measure::VmResidentBytes).is_some() {
        parts.push(format!("{} resident", amount(Measure::VmResidentBytes)));
    }
    parts
}

fn of_kernel(app: &App) -> Vec<String> {
    let Some(profile) = app.shown().kernel() else {
        return vec!["kernel memory".to_owned()];
    };
    let section = profile.sections.kernel.as_ref();
    let kinds = section.iter().flat_map(|section| section.kinds.values());
    let held: u64 = kinds
        .map(|values| values.amount(Measure::KernelLiveBytes))
        .sum();
    let traced = duration(Duration::from_secs(profile.meta.elapsed.as_secs()));
    let mut parts = vec![format!("{} held, traced for {traced}", bytes(held))];
    parts.extend(section.and_then(slab_growth));
    parts
}

/// How much of the growth of slab caches the stacks explain.
fn slab_growth(section: &crate::profile::KernelSection) -> Option<String> {
    let slab = section.slab.as_ref().filter(|slab| slab.bytes > 0)?;
    Some(format!(
        "slab caches have grown by {}, {} of it by these stacks",
        bytes(slab.bytes),
        bytes(slab.explained_bytes)
    ))
}
