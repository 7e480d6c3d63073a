//! A profile as text, for a person, in a terminal or a log: a part for each source and section that it has.

mod address_space;
mod blocks;
mod closing;
mod difference;
mod growth;
mod heap;
mod host_wide;
mod hunt;
mod kernel;
mod ledger;
mod machine;
mod page_faults;

use std::io::{self, Write};

use super::term::line::{Line, Writer};
use super::{Options, Render};
use crate::profile::{Measure, Profile, Sample, Source, Values};
use crate::words::names;
use crate::words::units::{change, count, duration};

/// The renderer. A profile that is not the last of its trace is followed by an empty line.
pub struct Text;

impl Render for Text {
    fn render(&self, profile: &Profile, options: &Options, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Writer::new(out, options.width, options.color);
        if let Some(difference) = &profile.sections.difference {
            return difference::write(&mut out, profile, difference, options);
        }
        if profile.sections.hunt.is_some() {
            return hunt::write(&mut out, profile, options);
        }
        if profile.sections.machine.is_some() {
            return machine::write(&mut out, profile, options);
        }
        if profile.sections.ledger.is_some() {
            return ledger::write(&mut out, profile, options);
        }
        heading(&mut out, profile, options)?;
        match profile.main_source() {
            Source::Heap => heap::write(&mut out, profile, options)?,
            Source::AddressSpace => address_space::write(&mut out, profile, options)?,
            Source::PageFaults => page_faults::write(&mut out, profile, options)?,
            Source::Kernel => kernel::write(&mut out, profile, options)?,
            Source::Process => {}
        }
        host_wide::ended(&mut out, profile)?;
        closing::write(&mut out, profile, options)?;
        match profile.meta.last {
            true => Ok(()),
            false => out.blank(),
        }
    }
}

/// When, what and for how long.
fn heading(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let time = profile.meta.time.to_zoned(options.time_zone.clone());
    let (subject, what) = match profile.main_source() {
        Source::AddressSpace => (names::subject(profile), "address space, ".to_owned()),
        Source::Kernel => ("kernel memory".to_owned(), kernel::only(profile)),
        _ => (names::subject(profile), String::new()),
    };
    let last = if profile.meta.last {
        ", last report"
    } else {
        ""
    };
    let traced = duration(profile.meta.elapsed);
    let parts = vec![
        Line::of(&time.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        Line::of(" ").strong(&subject).plain(","),
        Line::of(&format!("{what}traced for {traced}{last}")),
    ];
    out.flow(parts, 2)
}

/// How many samples with a stack a source has, shown or not, and their figures together.
fn all_stacks(profile: &Profile, source: Source) -> (u64, Values) {
    let (mut stacks, mut sum) = profile.omitted(source, true);
    for sample in profile.stack_samples(source) {
        stacks += 1;
        sum.add(&profile.values(sample));
    }
    (stacks, sum)
}

/// The samples with a stack that are shown.
fn shown<'a>(profile: &'a Profile, source: Source, options: &Options) -> Vec<&'a Sample> {
    let most = options.top.unwrap_or(usize::MAX);
    profile.stack_samples(source).take(most).collect()
}

/// Whose a sample is, where there are several subjects or can be.
fn owners(profile: &Profile, sample: &Sample) -> Option<Line> {
    let owners = || Line::of(&names::owners(profile, sample));
    profile.is_of_many().then(owners)
}

/// The number of the stack at this index, from 1.
fn number(index: usize) -> Line {
    Line::default().faint(&format!("#{} ", index + 1))
}

/// The change of a sample's measure in bold, or that there is none; `None` in the first profile.
fn changed(profile: &Profile, sample: &Sample, measure: Measure) -> Option<Line> {
    profile.whole(sample, measure).map(changed_by)
}

/// A change in bold, or that there is none.
fn changed_by(bytes: i64) -> Line {
    match bytes {
        0 => Line::of("unchanged"),
        _ => Line::default().strong(&change(bytes)),
    }
}

/// The age of a sample's oldest part.
fn oldest(profile: &Profile, sample: &Sample, measure: Measure) -> Option<Line> {
    let age = profile.value(sample, measure)?;
    let age = std::time::Duration::from_millis(age.whole().max(0).cast_unsigned());
    Some(Line::of(&format!("oldest {}", duration(age))))
}

/// Writes how many rows of a table or a list are left out, if any are.
fn more(out: &mut Writer<'_>, left_out: u64) -> io::Result<()> {
    match left_out {
        0 => Ok(()),
        more => out.line(&Line::of(&format!("  ... {} more", count(more)))),
    }
}
