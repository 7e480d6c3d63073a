//! Which processes the kernel kills for lack of memory, at the moment when it decides so: the tracepoint
//! `oom:mark_victim`, as a perf event on each CPU. Nothing is loaded into the kernel, and nothing runs until then.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use aya_obj::generated::{perf_event_sample_format, perf_event_type, perf_type_id};

use super::perf_ring::{self, PerfRing, u32_at, u64_at};

/// Data pages of a ring: some 40 records each, and the kernel kills one process at a time.
const RING_PAGES: usize = 4;
/// Where tracefs is mounted, by convention.
const ROOTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// The tracepoint.
const EVENT: &str = "events/oom/mark_victim";
/// Where the raw data of a sample begin: header, time, size.
const RAW_AT: usize = 8 + 8 + 4;

/// A process that is about to be killed for lack of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// When the kernel decided so: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Its PID, or the id of one of its threads.
    pub id: u32,
}

/// The ring of one CPU.
pub struct OomKills {
    ring: PerfRing,
    /// Where the PID is within the raw data.
    pid_at: usize,
}

impl OomKills {
    /// Opens a ring for each online CPU.
    ///
    /// # Errors
    /// What the system said: tracefs is not mounted, or the privileges do not suffice.
    pub fn open() -> io::Result<Vec<Self>> {
        let folder = folder()?;
        let id = std::fs::read_to_string(folder.join("id"))?;
        let format = std::fs::read_to_string(folder.join("format"))?;
        let unknown = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let id = id.trim().parse();
        let id = id.map_err(|_| unknown("the id of oom:mark_victim is no number"))?;
        let pid_at = pid_offset(&format).ok_or_else(|| unknown("oom:mark_victim has no pid"))?;
        let mut attr = perf_ring::attributes();
        attr.type_ = perf_type_id::PERF_TYPE_TRACEPOINT as u32;
        attr.config = id;
        attr.sample_type |= perf_event_sample_format::PERF_SAMPLE_RAW as u64;
        attr.__bindgen_anon_1.sample_period = 1;
        let rings = PerfRing::open_all(&attr, RING_PAGES)?;
        let rings = rings.into_iter();
        Ok(rings.map(|ring| Self { ring, pid_at }).collect())
    }

    /// Takes all records out, oldest first.
    pub fn drain(&mut self) -> Vec<Victim> {
        let records = self.ring.drain();
        let victims = records.iter();
        victims
            .filter_map(|record| decode(record, self.pid_at))
            .collect()
    }
}

impl AsRawFd for OomKills {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

fn folder() -> io::Result<PathBuf> {
    let mut roots = ROOTS.iter().map(|root| Path::new(root).join(EVENT));
    roots.find(|folder| folder.is_dir()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no {EVENT} in {}", ROOTS.join(" or ")),
        )
    })
}

/// Where `format` says that the PID is: a line such as "field:int pid;\toffset:8;\tsize:4;\tsigned:1;".
fn pid_offset(format: &str) -> Option<usize> {
    let line = format.lines().find(|line| {
        let field = line.trim().strip_prefix("field:");
        let name = field.and_then(|field| field.split(';').next());
        name.is_some_and(|name| name.ends_with(" pid"))
    })?;
    let offset = line
        .split(';')
        .find_map(|part| part.trim().strip_prefix("offset:"))?;
    offset.trim().parse().ok()
}

fn decode(record: &[u8], pid_at: usize) -> Option<Victim> {
    if u32_at(record, 0)? != perf_event_type::PERF_RECORD_SAMPLE as u32 {
        return None;
    }
    Some(Victim {
        time_ns: u64_at(record, 8)?,
        id: u32_at(record, RAW_AT.checked_add(pid_at)?)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMAT: &str = "name: mark_victim\nID: 600\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;\n\
        \tfield:__data_loc char[] comm;\toffset:12;\tsize:4;\tsigned:0;\n";

    fn record() -> Vec<u8> {
        let mut record = Vec::new();
        record.extend((perf_event_type::PERF_RECORD_SAMPLE as u32).to_ne_bytes());
        record.extend([0, 0, 36, 0]);
        record.extend(123_u64.to_ne_bytes());
        record.extend(16_u32.to_ne_bytes());
        record.extend([0; 8]);
        record.extend(4242_u32.to_ne_bytes());
        record.extend([0; 4]);
        record
    }

    #[test]
    fn a_victim_is_read() {
        assert_eq!(pid_offset(FORMAT), Some(8));
        assert_eq!(pid_offset("format:\n"), None);
        let victim = Victim {
            time_ns: 123,
            id: 4242,
        };
        assert_eq!(decode(&record(), 8), Some(victim));
    }

    proptest! {
        /// No record, however cut or damaged, is read beyond its end.
        #[test]
        fn damage_is_survived(cut in 0_usize..48, at in 0_usize..48, value: u8, pid_at: usize) {
            let mut record = record();
            let index = at % record.len();
            record[index] = value;
            record.truncate(cut);
            let _ = decode(&record, pid_at);
        }
    }
}
