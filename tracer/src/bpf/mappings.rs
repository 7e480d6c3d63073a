//! Which processes map new code, and when one replaces its program: records of one dummy perf event for each CPU.
//!
//! Driven by events: nothing is polled, and the traced program pays nothing but the record. The records
//! (perf_event_open(2)): `PERF_RECORD_MMAP2`, written for executable mappings only, `PERF_RECORD_COMM` with the exec
//! flag, which comes before the new program's first mapping, and `PERF_RECORD_LOST`.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use aya_obj::generated::{perf_event_attr, perf_event_type, perf_sw_ids, perf_type_id};

use super::perf_ring::{self, PerfRing, u32_at, u64_at};

/// Data pages of a ring: room for some 2,000 records, whose file names take most of it; a program that starts makes
/// ten.
const RING_PAGES: usize = 64;
/// `PERF_RECORD_MISC_COMM_EXEC`.
const COMM_EXEC: u16 = 1 << 13;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds; 0 for [`Mapped::Lost`].
    pub time_ns: u64,
    /// What happened.
    pub what: Mapped,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// A process has mapped code.
    Code(MappedCode),
    /// A process has begun to load another program.
    Exec {
        /// The process.
        pid: u32,
        /// The new program's name, as the kernel keeps it.
        comm: String,
    },
    /// Records were lost: any process may have mapped anything.
    Lost,
}

/// An executable mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedCode {
    /// The process.
    pub pid: u32,
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Major and minor device number, as the kernel sees them.
    pub device: (u32, u32),
    /// Inode number; 0 where it is no file.
    pub inode: u64,
    /// The file's path, or a name such as `[vdso]`.
    pub name: Vec<u8>,
}

/// The ring of one CPU.
pub struct MappingEvents(PerfRing);

impl MappingEvents {
    /// Opens a ring for each online CPU.
    pub fn open() -> io::Result<Vec<Self>> {
        let rings = PerfRing::open_all(&attributes(), RING_PAGES)?;
        Ok(rings.into_iter().map(Self).collect())
    }

    /// Takes all records out, oldest first.
    pub fn drain(&mut self) -> Vec<MappingEvent> {
        let records = self.0.drain();
        records.iter().filter_map(|record| decode(record)).collect()
    }
}

impl AsRawFd for MappingEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn attributes() -> perf_event_attr {
    let mut attr = perf_ring::attributes();
    attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
    attr.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
    attr.set_mmap(1);
    attr.set_mmap2(1);
    attr.set_comm(1);
    attr.set_comm_exec(1);
    attr
}

/// Reads one record; `None` for kinds that are of no interest.
fn decode(record: &[u8]) -> Option<MappingEvent> {
    const MMAP2: u32 = perf_event_type::PERF_RECORD_MMAP2 as u32;
    const COMM: u32 = perf_event_type::PERF_RECORD_COMM as u32;
    const LOST: u32 = perf_event_type::PERF_RECORD_LOST as u32;
    // Every record but the lost ones' ends with its time.
    let time_ns = u64_at(record, record.len().checked_sub(8)?)?;
    let pid = u32_at(record, 8)?;
    match u32_at(record, 0)? {
        MMAP2 => {
            let (start, length) = (u64_at(record, 16)?, u64_at(record, 24)?);
            let name = record.get(72..record.len() - 8)?;
            let name = name.split(|byte| *byte == 0).next()?;
            let code = MappedCode {
                pid,
                start,
                end: start.checked_add(length)?,
                offset: u64_at(record, 32)?,
                device: (u32_at(record, 40)?, u32_at(record, 44)?),
                inode: u64_at(record, 48)?,
                name: name.to_vec(),
            };
            Some(MappingEvent {
                time_ns,
                what: Mapped::Code(code),
            })
        }
        COMM => {
            let misc = u16::from_ne_bytes(record.get(4..6)?.try_into().ok()?);
            let comm = record
                .get(16..record.len() - 8)?
                .split(|byte| *byte == 0)
                .next()?;
            let comm = String::from_utf8_lossy(comm).into_owned();
            (misc & COMM_EXEC != 0).then_some(MappingEvent {
                time_ns,
                what: Mapped::Exec { pid, comm },
            })
        }
        LOST => Some(MappingEvent {
            time_ns: 0,
            what: Mapped::Lost,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A mapping's record as the kernel writes it.
    fn mmap2() -> Vec<u8> {
        let mut record = vec![0u8; 72];
        let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        put(
            0,
            &(perf_event_type::PERF_RECORD_MMAP2 as u32).to_ne_bytes(),
        );
        put(8, &77u32.to_ne_bytes());
        put(16, &0x7000u64.to_ne_bytes());
        put(24, &0x2000u64.to_ne_bytes());
        put(32, &0x1000u64.to_ne_bytes());
        put(40, &8u32.to_ne_bytes());
        put(44, &1u32.to_ne_bytes());
        put(48, &4242u64.to_ne_bytes());
        record.extend(b"/lib/a.so\0\0\0\0\0\0\0");
        record.extend(123u64.to_ne_bytes());
        record
    }

    #[test]
    fn a_mapping_is_read() {
        let event = decode(&mmap2()).expect("a mapping");
        let Mapped::Code(code) = event.what else {
            panic!("not code")
        };
        assert_eq!(
            (event.time_ns, code.pid, code.start, code.end, code.offset),
            (123, 77, 0x7000, 0x9000, 0x1000)
        );
        assert_eq!(
            (code.device, code.inode, code.name.as_slice()),
            ((8, 1), 4242, &b"/lib/a.so"[..])
        );
    }

    proptest! {
        /// No record, however cut or damaged, is read beyond its end.
        #[test]
        fn damage_is_survived(cut in 0usize..96, at in 0usize..96, value: u8) {
            let mut record = mmap2();
            let index = at % record.len();
            record[index] = value;
            record.truncate(cut);
            let _ = decode(&record);
        }
    }
}
