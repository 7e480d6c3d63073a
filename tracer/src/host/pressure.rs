//! Want of memory: how long tasks waited for it, and processes killed. Pure.

use std::io::Cursor;

use procfs::{FromBufRead, MemoryPressure};

/// How long tasks waited for memory (pressure stall information, Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks waited that had something to do.
    pub full: Stall,
}

/// Share of the time, over several windows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f32,
    /// Percent of the last minute.
    pub avg60: f32,
    /// Percent of the last five minutes.
    pub avg300: f32,
    /// Microseconds since boot, or since the group was made.
    pub total_us: u64,
}

impl Pressure {
    /// Reads a text such as that of `/proc/pressure/memory`, or of `memory.pressure` of a cgroup.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let pressure = MemoryPressure::from_buf_read(Cursor::new(text)).ok()?;
        let stall = |record: &procfs::PressureRecord| Stall {
            avg10: record.avg10,
            avg60: record.avg60,
            avg300: record.avg300,
            total_us: record.total,
        };
        Some(Self {
            some: stall(&pressure.some),
            full: stall(&pressure.full),
        })
    }
}

/// Processes that the kernel killed for want of memory, since boot; from `/proc/vmstat` (Linux 4.13).
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
        let pressure = Pressure::parse(
            b"some avg10=1.50 avg60=0.14 avg300=0.08 total=371338\nfull avg10=0.25 avg60=0.07 avg300=0.00 total=216726\n",
        )
        .expect("two lines");
        assert_eq!((pressure.some.avg10, pressure.full.avg10), (1.5, 0.25));
        assert_eq!(pressure.full.total_us, 216_726);
        assert!(Pressure::parse(include_bytes!("samples/pressure.txt")).is_some());
        for broken in [
            &b""[..],
            b"some avg10=x",
            b"some avg10=1.0 avg60=1.0 avg300=1.0 total=5\n",
        ] {
            assert_eq!(Pressure::parse(broken), None);
        }
        assert_eq!(oom_kills(include_str!("samples/vmstat.6.18.txt")), Some(0));
        assert_eq!(oom_kills("oom_kill_x 5\noom_kill 12\n"), Some(12));
        assert_eq!(oom_kills("pgfault 5\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z0-9=. \n]{0,120}") {
            let _ = (Pressure::parse(text.as_bytes()), oom_kills(&text));
        }
    }
}
