//! What processes held when they ended, in words.

use super::names;
use super::units::{bytes, counted, counted_processes, duration};
use crate::profile::{EndedProcess, Measure, Values};

/// What is said of a process when it ends: "process 812 (perl, docker:3f2a9c1b7d4e) ended after 12.3s and held 29.3 KiB
/// in 3 blocks". Safe to print.
pub fn sentence(process: &EndedProcess) -> String {
    format!(
        "{} ended after {} and held {}",
        names::whose(process.pid, &process.command, &process.place),
        duration(process.traced),
        held(&process.totals)
    )
}

/// What was held: "29.3 KiB in 3 blocks", or "nothing"; of an address space what was mapped.
pub fn held(values: &Values) -> String {
    if values.get(Measure::VmMappedBytes).is_some() {
        return mapped(values);
    }
    match values.amount(Measure::HeapLiveBlocks) {
        0 => "nothing".to_owned(),
        blocks => {
            let size = bytes(values.amount(Measure::HeapLiveBytes));
            format!("{size} in {}", counted(blocks, "block"))
        }
    }
}

fn mapped(values: &Values) -> String {
    let unread = match values.amount(Measure::VmUnreadMaps) {
        0 => String::new(),
        some => format!(
            " (without the maps of {}, which were not read in time)",
            counted_processes(some)
        ),
    };
    format!(
        "{} of memory mapped since the start, {} in total{unread}",
        bytes(values.amount(Measure::VmAnonymousBytes)),
        bytes(values.amount(Measure::VmMappedBytes))
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::profile::Place;

    fn ended(command: &str, live_bytes: u64) -> String {
        let place = Place {
            unit: Some("cron.service".to_owned()),
            ..Place::default()
        };
        let totals = Values::default()
            .with(Measure::HeapLiveBytes, live_bytes)
            .with(Measure::HeapLiveBlocks, u64::from(live_bytes > 0));
        sentence(&EndedProcess {
            pid: 812,
            command: command.to_owned(),
            place,
            user: "root".to_owned(),
            at: Duration::from_secs(100),
            traced: Duration::from_secs(12),
            totals,
        })
    }

    #[test]
    fn an_end_is_one_sentence() {
        assert_eq!(
            ended("perl", 30_000),
            "process 812 (perl, cron.service) ended after 12.0s and held 29.3 KiB in 1 block"
        );
        assert!(ended("perl", 0).ends_with("ended after 12.0s and held nothing"));
    }

    #[test]
    fn what_a_process_is_called_cannot_drive_the_terminal() {
        let said = ended("a\x1b[2J\n", 0);
        assert!(
            said.starts_with("process 812 (a?[2J?, cron.service) ended"),
            "{said}"
        );
    }

    #[test]
    fn an_address_space_is_what_was_mapped() {
        let mut values = Values::default()
            .with(Measure::VmMappedBytes, 4_u64 << 20)
            .with(Measure::VmAnonymousBytes, 1_u64 << 20);
        assert_eq!(
            held(&values),
            "1 MiB of memory mapped since the start, 4 MiB in total"
        );
        values.set(Measure::VmUnreadMaps, 1_u64);
        let held = held(&values);
        assert!(
            held.ends_with(
                "4 MiB in total (without the maps of 1 process, which were not read in time)"
            ),
            "{held}"
        );
    }
}
