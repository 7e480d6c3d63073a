//! The page that the benchmarks write: docs/performance.md.

use super::{Outcome, Plan, finding};

/// How to read the figures, before them.
const HOW_TO_READ: &str = "\
A figure of one machine says little about another, so what is held against a target is a ratio of two figures of the
same run, wherever that makes sense. The *floor* is an empty BPF program on the very instructions that memlens probes:
what the kernel itself takes for the traps. What memlens does in them (pairing entry and return, walking and hashing
the stack, the table of live blocks, the totals of the stack) is what full tracing costs beyond the floor.

A probe on an instruction that the kernel emulates costs one trap; on any other instruction it is single-stepped,
which is a second trap. memlens looks for an instruction of the first kind. \"Empty programs at function entries\" is
what any tracer pays at the least that puts its probes at the functions' first instructions, whatever it does in them.
In a virtual machine traps, and single steps above all, cost several times what they cost on bare metal: take the
nanoseconds of this page as an upper bound there.
";

/// How the figures came about, after them.
const METHOD: &str = "\
* `pair`: a program that calls malloc(64) and free in a loop below a chain of ten frames, pinned to one CPU, tells
  each quarter of a second what a pair took. One process goes through all modes in turn, so that they meet the same
  noise, and the whole is repeated; each time with a fresh process, so that no lucky memory layout decides. The
  smallest value of each mode counts, since noise only ever adds; median and worst are given beside it. The floor is
  memlens with `MEMLENS_FLOOR=sites`, the entry placement `MEMLENS_FLOOR=entries`: in both all is as always, but the
  programs are empty and nothing is counted.
* `unwind`: the same program without frame pointers, below exactly 10, 20 and 40 frames: from the function that calls
  malloc to the thread's first one (clone3), each a function of its own. The program counts them with backtrace(), and
  memlens's report must have as many. Each pair's frames begin elsewhere on the stack than those of the 4,092 pairs
  before, so that memlens knows none of them again and walks; then the same with one stack all the time. One process
  is traced with whole stacks, with `--stack-depth 1` and with `--unwind fp --stack-depth 1`, which takes no step at
  all, as the frame pointer register holds no address there; the accounting is the same in all. With `--stack-depth 1`
  memlens reads the stack once and takes the first step, so the difference to it is the cost of all steps but that
  one. A cost is the median of the differences, one for each process, of the best values. For node memlens itself
  tells how long it built tables.
* `threads`: the program of `pair` with two threads, each on a CPU of its own, against one thread. By CPU time, what
  other programs take of the CPUs is left out: where the two ratios differ, the machine was not quiet.
* `attach`: a program that has loaded twenty libraries of a thousand functions each and allocates ten thousand times a
  second. Attaching is timed from memlens's start to its line \"memlens: tracing\", detaching from SIGINT to memlens's
  exit, with the last report.
* `host`: 480 processes on the C library's allocator and 20 that have preloaded a copy of jemalloc each, all of them
  asleep. memlens traces all of the machine with a report every five seconds. Its CPU time is that of thirty seconds
  after its first report, reports included.
* `outside`: the program of `pair` as root, beside `leaks --user nobody` and without it, by CPU time.
* `budget`: 500 idle processes, twenty that make 700 pairs a second each, three that do nothing else on one CPU, and
  `leaks --all` with its defaults. A fourth on that CPU is left out of the scope: what else slows the machine slows it
  as well. The cost is what the three lose in pairs a second against it, as a part of their CPU, and what the twenty
  use more in CPU time, after two seconds of tracing. The slowest quarter of a second of any of the three is looked
  for during the first two seconds.
* `leak`: the same host, where one of the twenty also loses 175 bytes a hundred times a second, for thirty seconds.
  What is reported is held against what it has lost since memlens first saw it; a tenth of a second's worth of
  difference, and two printed standard errors, are allowed.
* `loads`: redis-server under `redis-benchmark -t set` with 20 connections, and a Python loop that makes and frees one
  block of malloc's for each number. With memlens, its default budget and four seconds for the guard, and without, in
  turn; the best rate of each counts.
* `report`: a program that leaks a hundred blocks from each of ten thousand stacks. The first report after that is
  left out, as it looks the symbols up. Memory is memlens's peak RSS; the tables in the kernel are not in it.
* `ages`: the same program with a million and with ten million blocks. memlens itself tells how long it read them
  (`-v`), the kernel how much memory the table's maps take (`/proc/PID/fdinfo`).
* `reach`: a program with a million and with ten million blocks of 90 bytes, each but the first pointed to by an earlier
  one at random, with and without 100 blocks that nothing points to, which must be all that is called lost. memlens
  itself tells how long it looked (`-v`), with every report; memory is its peak RSS.
* `kernel`: one thread that opens and closes eventfds, sends datagrams through a pair of sockets, or maps, touches and
  unmaps pages, in CPU time. The allocations of a loop are those of the whole machine in that time, so let nothing
  else run.
* `host-pass`: two thousand processes that sleep; `memlens host` tells in its JSON report what its last pass took:
  processes, machine and cgroups. By default, with the cgroup of each process read again (`--by container`), and with
  the PSS of each (`--of pss`).
* `space`: the program of `pair` with `mmap` and `munmap` of 64 KiB in place of malloc and free, and with `getppid()`,
  by CPU time, as memlens's programs pass every system call of the host. The storm is of two threads that map, unmap,
  move, protect and move the heap's end at random, with a pause after every 64 calls to keep the rate; memlens's CPU
  time is that of those ten seconds without a report. The report is of ten thousand ranges that cannot be joined,
  every page touched. The start is of `memlens vm --all` with 500 idle processes.
* `faults`: one thread that touches 512 pages, gives them back (`MADV_DONTNEED`) and touches them again, with a loop
  between two faults that makes 200,000 of them a second of CPU time, untraced; its turns stay the same. By CPU time,
  as the best slot. The report must have as many faults as the kernel counts.
* `exact`: malloc, calloc, realloc, posix_memalign and free, mixed at random on eight threads, twice, and at one time
  in four programs of two threads. The program knows what it keeps at the end, and the report must say the same, with
  all loss counters at zero.

To measure on another machine, as root, with nothing else running: `cargo xtask bench --write docs/performance.md`. A
single benchmark: `cargo xtask bench pair`.
";

/// The whole page.
pub fn text(machine: &str, plan: &Plan, outcome: &Outcome) -> String {
    let mut text = format!(
        "# Performance\n\nMachine: {machine}.\nEach measurement {} times, {} s each, interleaved; the best counts.\n",
        plan.runs, plan.seconds
    );
    text.push_str("\n## How to read this page\n\n");
    text.push_str(HOW_TO_READ);
    text.push_str("\n## Targets\n\n");
    text.push_str(&finding::table(&outcome.findings).to_string());
    for note in &outcome.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    for (title, table) in &outcome.tables {
        text.push_str(&format!("\n## {title}\n\n{table}"));
    }
    text.push_str("\n## Method\n\n");
    text.push_str(METHOD);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::finding::{Finding, Target};

    #[test]
    fn a_missed_target_is_on_the_page() {
        let plan = Plan {
            memlens: "memlens".into(),
            runs: 3,
            seconds: 2,
            calls: 1000,
            memleak: None,
        };
        let outcome = Outcome {
            findings: vec![Finding::figure(
                "attach",
                900.0,
                " ms",
                Target::AtMost(500.0),
            )],
            ..Outcome::default()
        };
        let text = text("Some CPU, 2 CPUs", &plan, &outcome);
        assert!(
            text.contains("Some CPU, 2 CPUs.\nEach measurement 3 times"),
            "{text}"
        );
        assert!(text.contains("| attach |   900 ms |"), "{text}");
        assert!(text.contains("| **no** |"), "{text}");
    }
}
