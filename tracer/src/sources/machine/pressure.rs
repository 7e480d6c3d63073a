//! Lack of memory: how long tasks waited for it, and processes killed. Pure.

use std::io::Cursor;
use std::time::Duration;

use procfs::{FromBufRead, MemoryPressure, PressureRecord};

use crate::profile::machine::{Pressure, Stall};

/// Reads a text such as that of `/proc/pressure/memory`, or of `memory.pressure` of a cgroup.
pub fn parse(text: &[u8]) -> Option<Pressure> {
    let pressure = MemoryPressure::from_buf_read(Cursor::new(text)).ok()?;
    let stall = |record: &PressureRecord| Stall {
        avg10: record.avg10,
        avg60: record.avg60,
        avg300: record.avg300,
        total: Duration::from_micros(record.total),
    };
    Some(Pressure {
        some: stall(&pressure.some),
        full: stall(&pressure.full),
    })
}

/// Processes that the kernel killed for lack of memory, since boot; from `/proc/vmstat` (Linux 4.13).
pub fn oom_kills(vmstat: &str) -> Option<u64> {
    let line = vmstat
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pressure_and_oom_kills_are_read() {
        let pressure = parse(
            b"some avg10=1.50 avg60=0.14 avg300=0.08 total=371338\nfull avg10=0.25 avg60=0.07 avg300=0.00 total=216726\n",
        )
        .expect("two lines");
        assert_eq!((pressure.some.avg10, pressure.full.avg10), (1.5, 0.25));
        assert_eq!(pressure.full.total.as_micros(), 216_726);
        assert!(parse(include_bytes!("samples/pressure.txt")).is_some());
        for broken in [
            &b""[..],
            b"some avg10=x",
            b"some avg10=1.0 avg60=1.0 avg300=1.0 total=5\n",
        ] {
            assert_eq!(parse(broken), None);
        }
        assert_eq!(oom_kills(include_str!("samples/vmstat.6.18.txt")), Some(0));
        assert_eq!(oom_kills("oom_kill_x 5\noom_kill 12\n"), Some(12));
        assert_eq!(oom_kills("pgfault 5\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z0-9=. \n]{0,120}") {
            let _ = (parse(text.as_bytes()), oom_kills(&text));
        }
    }
}
