//! The details of a stack: what it holds and for how long, who holds it, and its lines.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::theme::Theme;
use super::{ages, put, split, width};
use crate::analysis::verdict;
use crate::profile::{Detail, Measure, Profile, Sample, Source};
use crate::render::Options;
use crate::render::term::frames;
use crate::render::term::line::Writer;
use crate::top::state::App;
use crate::words::clean::clean;
use crate::words::units::{bytes, change, count, counted, duration};
use crate::words::{elide, lifetimes, names, reachability};

/// Columns that frames are indented by, which a pane has no use for.
const INDENT: usize = 4;
/// Holders that are named.
const HOLDERS: usize = 5;

/// Lines of the details, each with its style.
type Lines = Vec<(String, Style)>;

/// Draws the details of the selected stack, from the line on that they are scrolled to.
pub fn draw(app: &mut App, theme: &Theme, area: Rect, out: &mut Buffer) {
    let lines = match app.stack() {
        Some((profile, row)) => match profile.samples.get(row.sample) {
            Some(sample) => of_stack(profile, sample, width(area), theme),
            None => return,
        },
        None => return,
    };
    let height = usize::from(area.height);
    let most = lines.len().saturating_sub(height);
    app.details_from = app.details_from.min(most);
    let (_, last) = split(area, area.height.saturating_sub(1));
    let shown = lines.iter().skip(app.details_from);
    for (line, (text, style)) in (0..area.height).zip(shown) {
        let text = elide::start(text, width(area)).to_owned();
        put(out, area, line, Line::styled(text, *style));
    }
    let left = lines.len().saturating_sub(app.details_from + height);
    if left > 0 {
        let keys = match app.is_in_details {
            true => "Down",
            false => "Right, then Down",
        };
        let text = format!("... {} more, {keys}", counted(left as u64 + 1, "line"));
        let text = format!("{text:<columns$}", columns = width(last));
        put(out, last, 0, Line::styled(text, theme.faint));
    }
}

fn of_stack(profile: &Profile, sample: &Sample, columns: usize, theme: &Theme) -> Lines {
    let mut lines: Lines = Vec::new();
    let mut say = |text: String, style: Style| {
        let wrapped = wrapped(&text, columns);
        lines.extend(wrapped.into_iter().map(|line| (line, style)));
    };
    say(held(profile, sample), theme.strong);
    if let Some(sentence) = finding(profile, sample) {
        say(sentence, theme.pressing);
    }
    let classes = reachability::classes(profile, sample, verdict::is_taken_back(profile, sample));
    if let Some(classes) = classes {
        say(format!("blocks: {classes}"), Style::new());
    }
    for holder in sample.holders.iter().take(HOLDERS) {
        let text = format!(
            "held {} of {}: {}",
            count(holder.shared.into()),
            count(holder.sampled.into()),
            clean(&holder.text)
        );
        say(text, Style::new());
    }
    if let Some(sentence) = lifetimes::sentence(&sample.freed, &sample.ages) {
        say(sentence, Style::new());
    }
    lines.extend(ages::lines(&sample.ages, columns, theme));
    lines.push((String::new(), Style::new()));
    match sample.stack {
        Some(_) => lines.extend(frames_of(profile, sample, columns)),
        None => {
            let why = wrapped(no_stack(sample), columns);
            lines.extend(why.into_iter().map(|line| (line, theme.faint)));
        }
    }
    lines
}

/// What a stack holds, in one sentence.
fn held(profile: &Profile, sample: &Sample) -> String {
    let amount = |measure| profile.amount(sample, measure);
    let mut parts = match sample.source {
        Source::AddressSpace => space(profile, sample),
        Source::Kernel => kernel(profile, sample),
        _ => vec![format!(
            "{} in {}",
            bytes(amount(Measure::HeapLiveBytes)),
            counted(amount(Measure::HeapLiveBlocks), "block")
        )],
    };
    let (changed, oldest) = match sample.source {
        Source::AddressSpace => (Measure::VmChangeBytes, Measure::VmOldestMs),
        Source::Kernel => (Measure::KernelChangeBytes, Measure::KernelOldestMs),
        _ => (Measure::HeapChangeBytes, Measure::HeapOldestMs),
    };
    parts.extend(profile.whole(sample, changed).map(|by| match by {
        0 => "unchanged since the last report".to_owned(),
        by => format!("{} since the last report", change(by)),
    }));
    if profile.value(sample, oldest).is_some() {
        let age = std::time::Duration::from_millis(amount(oldest));
        parts.push(format!("oldest {}", duration(age)));
    }
    if profile.is_of_many() && sample.source == Source::Heap {
        parts.push(clean(&names::owners(profile, sample)).into_owned());
    }
    parts.join(", ")
}

fn space(profile: &Profile, sample: &Sample) -> Vec<String> {
    let amount = |measure| profile.amount(sample, measure);
    let mut parts = vec![format!(
        "{} mapped, {} resident, in {}",
        bytes(amount(Measure::VmMappedBytes)),
        bytes(amount(Measure::VmResidentBytes)),
        counted(amount(Measure::VmRanges), "range")
    )];
    for (measure, words) in [
        (Measure::VmSwappedBytes, "swapped"),
        (Measure::VmReservedBytes, "without access"),
    ] {
        if amount(measure) > 0 {
            parts.push(format!("{} {words}", bytes(amount(measure))));
        }
    }
    if let Some(Detail::Region(region)) = &sample.detail {
        let kinds = region.kinds.iter().map(|kind| kind.name().to_owned());
        let files = region
            .files
            .iter()
            .take(2)
            .map(|file| clean(file).into_owned());
        parts.extend(kinds.chain(files));
    }
    parts
}

fn kernel(profile: &Profile, sample: &Sample) -> Vec<String> {
    let amount = |measure| profile.amount(sample, measure);
    let held = format!(
        "{} in {}",
        bytes(amount(Measure::KernelLiveBytes)),
        count(amount(Measure::KernelLiveBlocks))
    );
    match &sample.detail {
        Some(Detail::Kernel(object)) => vec![
            match object.size {
                Some(size) => format!("{held} of {}", bytes(size)),
                None => held,
            },
            clean(&object.what).into_owned(),
        ],
        _ => vec![held],
    }
}

/// What was found of a stack.
fn finding(profile: &Profile, sample: &Sample) -> Option<String> {
    let stack = sample.stack?;
    let mut own = profile
        .findings
        .iter()
        .filter(|finding| finding.stack == Some(stack) && finding.subject == Some(sample.subject));
    own.next().map(|finding| finding.text.clone())
}

/// Why memory has no stack.
fn no_stack(sample: &Sample) -> &'static str {
    match &sample.detail {
        Some(Detail::Region(region)) if region.during_trace => {
            "mapped during the trace, by the kernel itself or by a call that was not seen"
        }
        _ => "it was there before the trace",
    }
}

/// The frames as a report has them, at the left edge.
fn frames_of(profile: &Profile, sample: &Sample, columns: usize) -> Lines {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes, Some(columns + INDENT), false);
    let options = Options {
        width: Some(columns + INDENT),
        ..Options::default()
    };
    // A vector takes all.
    let _ = frames::write(&mut out, profile, sample.stack, &options);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let unindented = |line: &str| line.get(INDENT..).unwrap_or(line).to_owned();
    text.lines()
        .map(|line| (unindented(line), Style::new()))
        .collect()
}

/// A sentence in lines of so many columns; all but the first are indented.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in elide::words(text, Some(columns.saturating_sub(2))) {
        let used = elide::columns(&line);
        if used > 0 && used + 1 + elide::columns(&word) > columns {
            lines.push(std::mem::take(&mut line));
            line.push_str("  ");
        } else if used > 0 {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped() {
        assert_eq!(wrapped("one two three", 20), ["one two three"]);
        assert_eq!(
            wrapped("one two three four", 9),
            ["one two", "  three", "  four"]
        );
        assert_eq!(wrapped("", 9), [""]);
    }
}
