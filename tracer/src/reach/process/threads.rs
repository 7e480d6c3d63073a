//! The threads of a process: their registers, and where their stacks and variables are.

use std::fs;

use tracer_common::arch::native::GENERAL;

use crate::bpf::RegisterReader;
use crate::profile::Registers;
use crate::reach::graph::Rank;
use crate::reach::judge::Word;
use crate::reach::parts::Thread;

/// Reads the threads of one process.
pub struct Threads {
    pid: u32,
    reader: Option<RegisterReader>,
    /// Why the registers are not to be had as they should be, in words.
    pub limit: Option<String>,
}

impl Threads {
    /// For a process, by its PID in our PID namespace.
    pub fn new(pid: u32) -> Self {
        let (reader, limit) = match RegisterReader::new(pid) {
            Ok(reader) => (Some(reader), None),
            Err(error) => {
                let what = "registers are known only of threads that wait in a system call: what another one alone \
                            holds may be called lost";
                (None, Some(format!("{what} ({error})")))
            }
        };
        Self { pid, reader, limit }
    }

    /// Where the registers come from.
    pub fn source(&self) -> Registers {
        match self.reader {
            Some(_) => Registers::Iterator,
            None => Registers::Syscall,
        }
    }

    /// The threads as they are now, and their registers.
    pub fn read(&self) -> (Vec<Thread>, Vec<Word>) {
        let read = self.reader.as_ref().and_then(|reader| reader.read().ok());
        read.map_or_else(
            || from_system_calls(self.pid),
            |all| {
                let thread = |own: &tracer_common::registers::ThreadRegisters| Thread {
                    tid: own.tid,
                    stack_pointer: Some(own.stack_pointer()).filter(|pointer| *pointer != 0),
                    thread_pointer: Some(own.thread_pointer).filter(|pointer| *pointer != 0),
                };
                let words = all.iter().flat_map(|own| words(own.tid, own.general()));
                (all.iter().map(thread).collect(), words.collect())
            },
        )
    }
}

/// The thread whose register a place stands for.
pub const fn thread_of(place: u64) -> u32 {
    (place / GENERAL as u64) as u32
}

fn words(tid: u32, registers: &[u64]) -> Vec<Word> {
    let place = tid as u64 * GENERAL as u64;
    let word = |(number, value): (u64, &u64)| Word {
        rank: Rank::Register,
        place: place + number,
        value: *value,
    };
    (0..).zip(registers).map(word).collect()
}

/// What `/proc` tells of threads that wait in a system call: its arguments and the stack pointer.
fn from_system_calls(pid: u32) -> (Vec<Thread>, Vec<Word>) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let (mut threads, mut registers) = (Vec::new(), Vec::new());
    for task in tasks.into_iter().flatten().filter_map(Result::ok) {
        let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let text = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        let (stack_pointer, arguments) = system_call(&text);
        threads.push(Thread {
            tid,
            stack_pointer,
            thread_pointer: None,
        });
        registers.extend(words(tid, &arguments));
    }
    (threads, registers)
}

/// The stack pointer and the arguments in a line of `/proc/PID/syscall`: the number of the call, six arguments, the
/// stack pointer, the program counter; `running` for a thread that runs.
fn system_call(line: &str) -> (Option<u64>, Vec<u64>) {
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let words: Vec<u64> = line.split_whitespace().skip(1).map_while(hex).collect();
    match words[..] {
        [ref arguments @ .., stack_pointer, _] => (Some(stack_pointer), arguments.to_vec()),
        _ => (None, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_system_calls() {
        let line = "202 0x1 0x80 0x2 0x0 0x0 0xffffffff 0x7ffc10 0x7f12\n";
        let arguments = vec![1, 0x80, 2, 0, 0, 0xffff_ffff];
        assert_eq!(system_call(line), (Some(0x7f_fc10), arguments));
        // It waits in the kernel, but in no call.
        assert_eq!(system_call("-1 0x7ffc10 0x7f12"), (Some(0x7f_fc10), vec![]));
        assert_eq!(system_call("running\n"), (None, vec![]));
        assert_eq!(system_call(""), (None, vec![]));
    }

    #[test]
    fn a_place_tells_the_thread() {
        let places = words(4242, &[0; GENERAL]).into_iter();
        assert!(
            places
                .map(|word| thread_of(word.place))
                .all(|tid| tid == 4242)
        );
    }
}
