//! The part of the text about heaps: the verdict, what is live, in which processes, on which stacks.

mod chosen;
mod processes;
mod stacks;
mod totals;
mod verdict;

use std::io;

use super::host_wide;
use crate::profile::{Measure, Profile, State, Values};
use crate::render::Options;
use crate::render::term::line::Writer;
use crate::words::{guard, reachability};

use self::chosen::Chosen;

fn live(values: &Values) -> u64 {
    values.amount(Measure::HeapLiveBytes)
}

/// Writes all of it.
pub fn write(out: &mut Writer<'_>, profile: &Profile, options: &Options) -> io::Result<()> {
    let chosen = Chosen::of(profile, options);
    verdict::write(out, profile, &chosen)?;
    totals::write(out, profile)?;
    totals::filtered(out, profile)?;
    if let Some(host) = &profile.sections.host_wide {
        if let Some(overhead) = guard::overhead(profile) {
            out.say(&overhead)?;
        }
        if let Some(rest) = host.admission.as_ref().and_then(guard::not_probed) {
            out.say(&rest)?;
        }
        out.blank()?;
        host_wide::table(out, profile, host, &processes::FIGURES, options)?;
    } else {
        if let Some(price) = guard::price(profile) {
            out.say(&price)?;
        }
        let subjects = &profile.subjects;
        if subjects.len() > 1
            || subjects
                .iter()
                .any(|subject| subject.state != State::Running)
        {
            out.blank()?;
            processes::write(out, subjects)?;
        }
        out.blank()?;
    }
    stacks::top(out, profile, &chosen, options)?;
    stacks::left_out(out, profile, &chosen)?;
    stacks::of_processes(out, profile, &chosen, options)?;
    for sentence in reachability::sentences(profile) {
        out.say(&sentence)?;
    }
    Ok(())
}
