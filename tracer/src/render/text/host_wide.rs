//! The parts of the text that only a trace of many processes has: their table, ended processes, steps of the guard.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::profile::{
    EndedName, EndedProcess, Group, Grouping, GuardStep, HostWide, Measure, Meta, Place, Profile,
    RegionKind, State, Subject, Values,
};
use crate::render::Options;
use crate::render::term::line::{Line, Writer};
use crate::render::term::table::{ALWAYS, Column, Table};
use crate::words::ended::held;
use crate::words::units::{count, counted, counted_processes, duration, plural};
use crate::words::{elide, guard};

/// Lines of one kind in a report.
const MOST_LINES: usize = 20;

/// Names of ended processes that are listed.
const MOST_NAMES: usize = 5;

/// Columns of the terminal for a place: fewer say nothing, more push the figures away.
const NARROWEST_PLACE: usize = 14;
const WIDEST_PLACE: usize = 40;

/// Columns of the terminal for a user's name.
const WIDEST_USER: usize = 16;

/// What the table shows of a source.
pub struct Figures {
    /// Columns of the figures of these rows, which are groups or processes.
    pub columns: fn(&[Row<'_>], bool) -> Vec<Column>,
    /// What so many rows that are left out hold together, with its verb: "hold 1 MiB".
    pub held: fn(u64, &Values) -> String,
    /// Importance of the column of states.
    pub state: u8,
}

/// The figures of a process or a group.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Its figures.
    pub totals: &'a Values,
    /// What is mapped of each kind.
    pub regions: &'a BTreeMap<RegionKind, Values>,
}

impl<'a> From<&'a Subject> for Row<'a> {
    fn from(
        Subject {
            totals, regions, ..
        }: &'a Subject,
    ) -> Self {
        Self { totals, regions }
    }
}

impl<'a> From<&'a Group> for Row<'a> {
    fn from(
        Group {
            totals, regions, ..
        }: &'a Group,
    ) -> Self {
        Self { totals, regions }
    }
}

/// A value for a table, "-" where there is none.
pub fn optional<T>(value: Option<T>, print: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), print)
}

/// A PID for a table.
pub fn pid(subject: &Subject) -> String {
    optional(subject.pid, |pid| pid.to_string())
}

/// Where a process belongs, for a table.
fn place(subject: &Subject) -> String {
    let place = &subject.place;
    optional((!place.cgroup.is_empty()).then_some(place), Place::label)
}

/// Writes the table of processes or of groups, and what it leaves out.
pub fn table(
    out: &mut Writer<'_>,
    profile: &Profile,
    host: &HostWide,
    figures: &Figures,
    options: &Options,
) -> io::Result<()> {
    let heading = match host.by {
        _ if profile.subjects.is_empty() => return Ok(()),
        Grouping::Stack => return Ok(()),
        Grouping::Process => None,
        Grouping::User => Some("user"),
        Grouping::Container => Some("where"),
    };
    let top = options.top.unwrap_or(usize::MAX);
    let (columns, left_out, noun) = match heading {
        None => {
            let (shown, rest) = profile.subjects.split_at(top.min(profile.subjects.len()));
            let columns = process_columns(&profile.subjects, shown, figures);
            let noun = plural(rest.len() as u64, "process", "processes");
            (
                columns,
                rest.iter().map(Row::from).collect::<Vec<_>>(),
                noun,
            )
        }
        Some(heading) => {
            let (shown, rest) = host.groups.split_at(top.min(host.groups.len()));
            let columns = group_columns(heading, shown, figures, out.width());
            let noun = plural(rest.len() as u64, "group", "groups");
            (columns, rest.iter().map(Row::from).collect(), noun)
        }
    };
    Table::new(columns).write(out)?;
    if !left_out.is_empty() {
        let n = left_out.len() as u64;
        let mut sum = Values::default();
        left_out.iter().for_each(|row| sum.add(row.totals));
        let text = format!("{} more {noun} {}", count(n), (figures.held)(n, &sum));
        out.sentence(Line::of(" "), &text, 2)?;
    }
    out.blank()
}

fn process_columns(all: &[Subject], shown: &[Subject], figures: &Figures) -> Vec<Column> {
    let user =
        |row: &Subject| optional(row.user.as_deref(), |user| elide::middle(user, WIDEST_USER));
    // Where all are sampled alike, no row needs to say so.
    let some_sampled = all
        .iter()
        .any(|row| row.sample_bytes != all[0].sample_bytes);
    let mut columns = vec![
        Column::new("pid", ALWAYS, shown.iter().map(pid)),
        Column::new(
            "command",
            ALWAYS,
            shown.iter().map(|row| row.command.clone()),
        )
        .words(),
        Column::new("where", 20, shown.iter().map(place))
            .words()
            .shortened(NARROWEST_PLACE, WIDEST_PLACE, short_label),
        Column::new("user", 8, shown.iter().map(user)).words(),
    ];
    let rows: Vec<Row<'_>> = shown.iter().map(Row::from).collect();
    columns.extend((figures.columns)(&rows, false));
    let states = shown.iter().map(|row| state(row, some_sampled));
    let states = Column::new("state", figures.state, states).words();
    columns.extend((!states.is_empty()).then_some(states));
    columns
}

fn group_columns(
    heading: &'static str,
    shown: &[Group],
    figures: &Figures,
    width: Option<usize>,
) -> Vec<Column> {
    let half = width.map_or(usize::MAX, |width| width / 2);
    let mut columns = vec![
        Column::new(
            heading,
            ALWAYS,
            shown.iter().map(|row| elide::middle(&row.name, half)),
        )
        .words(),
        Column::new(
            "processes",
            17,
            shown.iter().map(|row| count(row.processes)),
        ),
    ];
    let rows: Vec<Row<'_>> = shown.iter().map(Row::from).collect();
    columns.extend((figures.columns)(&rows, true));
    columns
}

/// A label within `most` columns: the beginning of a container's id, as its tools accept it; both ends of a name.
fn short_label(label: &str, most: usize) -> String {
    let id = label.split_once(':').map_or("", |(_, id)| id);
    match !id.is_empty() && id.chars().all(|digit| digit.is_ascii_hexdigit()) {
        true => elide::start(label, most).to_owned(),
        false => elide::middle(label, most),
    }
}

/// What a reader must know before comparing the figures of a row with others.
fn state(row: &Subject, some_sampled: bool) -> String {
    let is_off = row.probes_off.is_some();
    let words = [
        (row.state != State::Running, row.state.word()),
        (is_off, "off"),
        (
            some_sampled && row.sample_bytes.is_some() && !is_off,
            "sampled",
        ),
        (row.totals.amount(Measure::VmUnreadMaps) > 0, "no map"),
        (row.started_in_trace, "new"),
    ];
    let words = words
        .into_iter()
        .filter_map(|(is_so, word)| is_so.then_some(word));
    words.collect::<Vec<_>>().join(", ")
}

/// Whether to report what happened at this elapsed time: it is new, or the profile is the last.
fn is_due(meta: &Meta, at: Duration) -> bool {
    meta.last
        || meta
            .previous
            .is_none_or(|previous| previous.is_zero() || at > previous)
}

/// Writes which processes ended since the previous report; in the last one all.
pub fn ended(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    let Some(HostWide { ended, .. }) = &profile.sections.host_wide else {
        return Ok(());
    };
    let due = ended
        .processes
        .iter()
        .filter(|process| is_due(&profile.meta, process.at));
    let mut processes: Vec<&EndedProcess> = due.collect();
    let due = ended
        .names
        .iter()
        .filter(|name| is_due(&profile.meta, name.last_at));
    let names: Vec<&EndedName> = due.collect();
    if processes.is_empty() && names.is_empty() {
        return Ok(());
    }
    let all = counted_processes(ended.count);
    let text = format!("{all}, which held {}", held(&ended.totals));
    out.sentence(Line::default().strong("ended:"), &text, 2)?;
    let size = |values: &Values| {
        values
            .amount(Measure::HeapLiveBytes)
            .max(values.amount(Measure::VmAnonymousBytes))
    };
    processes.sort_by_key(|process| Reverse(size(&process.totals)));
    let processes_told = processes.iter().take(MOST_LINES).map(|process| {
        let EndedProcess {
            command,
            pid,
            place,
            totals,
            ..
        } = process;
        let after = duration(process.traced);
        format!(
            "{command} ({pid}), {}, after {after}: {}",
            place.label(),
            held(totals)
        )
    });
    let names_told = names.iter().take(MOST_NAMES).map(|name| {
        let short_lived = count(name.processes);
        format!(
            "{}, {short_lived} short-lived: {}",
            name.command,
            held(&name.totals)
        )
    });
    for text in processes_told.chain(names_told) {
        out.sentence(Line::of(" "), &text, 4)?;
    }
    match processes.len().saturating_sub(MOST_LINES) + names.len().saturating_sub(MOST_NAMES) {
        0 => Ok(()),
        untold => {
            let text = format!("and {} more (--json lists all)", count(untold as u64));
            out.sentence(Line::of(" "), &text, 4)
        }
    }
}

/// Writes what the guard did, who is not probed and which files were mapped late, since the previous report; in the
/// last one all.
pub fn events(out: &mut Writer<'_>, profile: &Profile) -> io::Result<()> {
    let steps = profile
        .sections
        .guard
        .as_ref()
        .map_or(&[][..], |guard| &guard.steps);
    marked(out, "guard:", &guard_sentences(steps, &profile.meta))?;
    let Some(host) = &profile.sections.host_wide else {
        return Ok(());
    };
    let refused = host
        .admission
        .iter()
        .flat_map(|admission| &admission.refused);
    marked(
        out,
        "left:",
        &refused.map(guard::refused).collect::<Vec<_>>(),
    )?;
    let files = host
        .late_files
        .iter()
        .filter(|file| is_due(&profile.meta, file.at));
    marked(
        out,
        "late:",
        &files.map(guard::late_file).collect::<Vec<_>>(),
    )
}

/// The last due step of each process.
fn guard_sentences(steps: &[GuardStep], meta: &Meta) -> Vec<String> {
    let mut last: BTreeMap<u32, (u64, &GuardStep)> = BTreeMap::new();
    for step in steps.iter().filter(|step| is_due(meta, step.at)) {
        let before = last.get(&step.pid).map_or(0, |(steps, _)| *steps);
        last.insert(step.pid, (before + 1, step));
    }
    let mut last: Vec<(u64, &GuardStep)> = last.into_values().collect();
    last.sort_by_key(|(_, step)| step.at);
    let told = last.into_iter().map(|(steps, step)| match steps {
        1 => guard::sentence(step),
        steps => format!(
            "{} ({} before this)",
            guard::sentence(step),
            counted(steps - 1, "step")
        ),
    });
    told.collect()
}

fn marked(out: &mut Writer<'_>, mark: &str, sentences: &[String]) -> io::Result<()> {
    let left_out = sentences.len().saturating_sub(MOST_LINES);
    if left_out > 0 {
        let text = format!("{} earlier ones (--json lists all)", count(left_out as u64));
        out.sentence(Line::default().strong(mark), &text, 2)?;
    }
    for sentence in &sentences[left_out..] {
        out.sentence(Line::default().strong(mark), sentence, 2)?;
    }
    Ok(())
}
