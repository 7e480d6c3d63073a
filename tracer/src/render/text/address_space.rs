//! The part of the text about address spaces. Mapped and resident stand side by side, as address space is not memory.

use std::io;

use super::host_wide::{self, Figures, Row, optional};
use super::{all_stacks, changed, more, number, oldest, owners, page_faults, shown};
use crate::profile::{
    Detail, Measure, Profile, Region, RegionKind, Sample, Source, State, Subject, Values,
};
use crate::render::Options;
use crate::render::term::frames;
use crate::render::term::line::{Line, Writer};
use crate::render::term::table::{ALWAYS, Column, Table};
use crate::words::units::{bytes, change, count, counted, plural};

/// Files named in a stack's heading.
const FILES_NAMED: usize = 2;

/// Most rows of what no call has mapped, where the number of stacks is limited too.
const OTHERS_SHOWN: usize = 10;

/// Columns by kind of what is mapped, in order, with their importance.
const KINDS: [(&str, RegionKind, u8); 5] = [
    ("brk", RegionKind::Brk, 14),
    ("anonymous", RegionKind::Anonymous, 16),
    ("file", RegionKind::File, 12),
    ("shared", RegionKind::Shared, 4),
    ("stacks", RegionKind::Stack, 2),
];

/// Figures of many processes.
const FIGURES: Figures = Figures {
    columns: figures,
    held: |n, totals| {
        let resident = bytes(totals.amount(Measure::VmResidentBytes));
        let mapped = bytes(totals.amount(Measure::VmMappedBytes));
        format!(
            "{} {resident} resident, {mapped} mapped",
            plural(n, "has", "have")
        )
    },
    state: 6,
};

/// Writes all of it.
pub fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    totals(out, profile)?;
    out.blank()?;
    match &profile.sections.host_wide {
        Some(host) => host_wide::table(out, profile, host, &FIGURES, options)?,
        None => {
            processes(out, &profile.subjects)?;
            out.blank()?;
        }
    }
    let stacks = shown(profile, Source::AddressSpace, options);
    for (index, sample) in stacks.iter().enumerate() {
        head(out, profile, index, sample)?;
        frames::write(out, profile, sample.stack, options)?;
        out.blank()?;
    }
    left_out(out, profile, stacks.len())?;
    if profile.sections.page_faults.is_some() {
        page_faults::write(out, profile, options)?;
    }
    others(out, profile, options)
}

/// What is mapped, and how much of it by calls of the trace.
fn totals(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    let totals = profile.totals();
    out.list(amount(&totals), 2)?;
    let (stacks, mut calls) = all_stacks(profile, Source::AddressSpace);
    if totals.get(Measure::VmResidentBytes).is_some() {
        calls.join(Measure::VmResidentBytes, 0_u64.into());
    }
    let ranges = counted(calls.amount(Measure::VmRanges), "range");
    let text = format!("since the start {ranges} on {}: ", counted(stacks, "stack"));
    let mut parts = amount(&calls);
    parts[0] = Line::of(&text).join(std::mem::take(&mut parts[0]));
    out.list(parts, 2)
}

/// Mapped, resident, swapped and without access, as the parts of a list; the first is always there.
fn amount(values: &Values) -> Vec<Line> {
    let size = |measure: Measure| bytes(values.amount(measure));
    let is_any = |measure: Measure| values.amount(measure) > 0;
    let mut parts = vec![Line::of("mapped ").strong(&size(Measure::VmMappedBytes))];
    if is_any(Measure::VmReservedBytes) {
        let of = size(Measure::VmReservedBytes);
        parts.push(Line::of(&format!("{of} of it without access")));
    }
    if values.get(Measure::VmResidentBytes).is_some() {
        parts.push(Line::of("resident ").strong(&size(Measure::VmResidentBytes)));
    }
    if is_any(Measure::VmSwappedBytes) {
        parts.push(Line::of(&format!(
            "swapped {}",
            size(Measure::VmSwappedBytes)
        )));
    }
    parts
}

/// A column of sizes, "-" where one is not known.
fn sizes(heading: &'static str, importance: u8, rows: &[Row<'_>], measure: Measure) -> Column {
    let size = |row: &Row<'_>| {
        let size = row.totals.get(measure);
        optional(size, |size| bytes(size.whole().max(0).cast_unsigned()))
    };
    Column::new(heading, importance, rows.iter().map(size))
}

/// A column of sizes that are rare, if there is any.
fn rare(
    heading: &'static str,
    importance: u8,
    rows: &[Row<'_>],
    measure: Measure,
) -> Option<Column> {
    let sizes = rows.iter().map(|row| row.totals.amount(measure));
    let column = || Column::new(heading, importance, sizes.clone().map(bytes));
    sizes.clone().any(|size| size > 0).then(column)
}

/// The columns of each kind of what is mapped.
fn by_kind(rows: &[Row<'_>]) -> impl Iterator<Item = Column> {
    KINDS.into_iter().map(|(heading, kind, importance)| {
        let mapped = |row: &Row<'_>| {
            let values = row.regions.get(&kind);
            bytes(values.map_or(0, |values| values.amount(Measure::VmMappedBytes)))
        };
        Column::new(heading, importance, rows.iter().map(mapped))
    })
}

/// A row for each process.
fn processes(out: &mut Writer<'_>, subjects: &[Subject]) -> io::Result<()> {
    let rows: Vec<Row<'_>> = subjects.iter().map(Row::from).collect();
    let changes = subjects
        .iter()
        .map(|row| row.totals.whole(Measure::VmChangeBytes));
    let changes = Column::new("change", 18, changes.map(|bytes| optional(bytes, change)));
    let mut columns = vec![
        Column::new("pid", ALWAYS, subjects.iter().map(host_wide::pid)),
        Column::new(
            "command",
            ALWAYS,
            subjects.iter().map(|row| row.command.clone()),
        )
        .words(),
        sizes("resident", ALWAYS, &rows, Measure::VmResidentBytes),
        sizes("mapped", ALWAYS, &rows, Measure::VmMappedBytes),
    ];
    columns.extend((!changes.is_empty()).then_some(changes));
    columns.extend(rare("no access", ALWAYS, &rows, Measure::VmReservedBytes));
    columns.extend(rare("swapped", 17, &rows, Measure::VmSwappedBytes));
    columns.extend(by_kind(&rows));
    if subjects.iter().any(|row| row.state != State::Running) {
        let states = subjects.iter().map(|row| row.state.word().to_owned());
        columns.push(Column::new("state", 20, states).words());
    }
    Table::new(columns).write(out)
}

/// The columns of figures of many processes or of groups.
fn figures(rows: &[Row<'_>], is_group: bool) -> Vec<Column> {
    let growth = rows
        .iter()
        .map(|row| row.totals.whole(Measure::VmGrowthPerMin));
    let growth = growth.map(|growth| optional(growth, change));
    let mut columns = vec![
        sizes("resident", ALWAYS, rows, Measure::VmResidentBytes).strong(),
        sizes("mapped", ALWAYS, rows, Measure::VmMappedBytes),
        Column::new("growth/min", 18, growth),
    ];
    if !is_group {
        columns.extend(rare("no access", 10, rows, Measure::VmReservedBytes));
        columns.extend(rare("swapped", ALWAYS, rows, Measure::VmSwappedBytes));
    }
    columns.extend(by_kind(rows));
    columns
}

/// What a stack has mapped, and whose it is.
fn head(out: &mut Writer<'_>, profile: &Profile, index: usize, sample: &Sample) -> io::Result<()> {
    let none = Region::default();
    let region = match &sample.detail {
        Some(Detail::Region(region)) => region,
        _ => &none,
    };
    let mut parts = amount(&profile.values(sample));
    parts[0] = number(index).join(std::mem::take(&mut parts[0]));
    let kinds: Vec<&str> = region.kinds.iter().map(|kind| kind.name()).collect();
    let ranges = counted(profile.amount(sample, Measure::VmRanges), "range");
    parts.push(Line::of(&format!("{ranges}, {}", kinds.join(" and "))));
    parts.extend(changed(profile, sample, Measure::VmChangeBytes));
    parts.extend(oldest(profile, sample, Measure::VmOldestMs));
    if !region.files.is_empty() {
        let mut named: Vec<String> = region.files.iter().take(FILES_NAMED).cloned().collect();
        if region.files.len() > FILES_NAMED {
            let more = region.files.len() - FILES_NAMED;
            named.push(format!("{} more", counted(more as u64, "file")));
        }
        parts.push(Line::of(&named.join(", ")));
    }
    parts.extend(owners(profile, sample));
    out.list(parts, 4)
}

fn left_out(out: &mut Writer<'_>, profile: &Profile, shown: usize) -> io::Result<()> {
    let (stacks, _) = profile.stacks_total(Source::AddressSpace, Measure::VmMappedBytes);
    match (stacks.saturating_sub(shown as u64), shown) {
        (0, 0) => out.say("nothing mapped since the start is still mapped")?,
        (0, _) => return Ok(()),
        (1, _) => out.say("1 more stack has mapped memory")?,
        (more, _) => out.say(&format!("{} more stacks have mapped memory", count(more)))?,
    }
    out.blank()
}

/// What no call of the trace has mapped.
fn others(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let others = profile
        .samples_of(Source::AddressSpace)
        .filter(|sample| sample.stack.is_none());
    let others: Vec<&Sample> = others.collect();
    if others.is_empty() {
        return Ok(());
    }
    out.line(&Line::of(
        "mapped before the trace, or by the kernel itself:",
    ))?;
    let most = options.top.map_or(usize::MAX, |_| OTHERS_SHOWN);
    let shown = &others[..others.len().min(most)];
    let values: Vec<Values> = shown.iter().map(|sample| profile.values(sample)).collect();
    let regions = Default::default();
    let rows: Vec<Row<'_>> = values
        .iter()
        .map(|totals| Row {
            totals,
            regions: &regions,
        })
        .collect();
    let mut columns = Vec::new();
    if profile.subjects.len() > 1 {
        let subjects = shown.iter().map(|sample| profile.subject(sample.subject));
        let pids = subjects.map(|subject| optional(subject, host_wide::pid));
        columns.push(Column::new("pid", ALWAYS, pids));
    }
    columns.push(sizes("resident", ALWAYS, &rows, Measure::VmResidentBytes));
    columns.push(sizes("mapped", ALWAYS, &rows, Measure::VmMappedBytes));
    columns.extend(rare("no access", 2, &rows, Measure::VmReservedBytes));
    let ranges = values
        .iter()
        .map(|values| count(values.amount(Measure::VmRanges)));
    columns.push(Column::new("ranges", 1, ranges));
    let region = |sample: &&&Sample| match &sample.detail {
        Some(Detail::Region(region)) => region.clone(),
        _ => Region::default(),
    };
    let regions: Vec<Region> = shown.iter().map(|sample| region(&sample)).collect();
    let kinds = regions.iter().map(|region| {
        region
            .kinds
            .first()
            .map_or("", |kind| kind.name())
            .to_owned()
    });
    columns.push(Column::new("kind", ALWAYS, kinds).words());
    let files = regions
        .iter()
        .map(|region| region.files.first().cloned().unwrap_or_default());
    columns.push(Column::new("name", ALWAYS, files).words());
    Table::new(columns).write(out)?;
    let (omitted, _) = profile.omitted(Source::AddressSpace, false);
    more(out, omitted + (others.len() - shown.len()) as u64)?;
    out.blank()
}
