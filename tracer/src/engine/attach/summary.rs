//! What is said of the probes: what is traced, what is not, and how long removing them takes.

use std::rc::Rc;
use std::time::Duration;

use super::probes::slow_functions;
use super::{ProbedFile, Prober};
use crate::bpf::Method;
use crate::engine::Member;
use crate::words::units::counted;

/// How long a perf event takes to close: the kernel waits for a grace period of its RCU each time.
const PERF_EVENT_CLOSES_IN: Duration = Duration::from_millis(100);
/// Fewer are removed before anybody wonders.
const MANY_PERF_EVENTS: usize = 10;

impl Prober {
    /// What named processes are traced by: "process 4242 (nginx): 12 functions in /lib/libc.so.6".
    pub fn summary<'a>(&self, members: impl Iterator<Item = &'a Member>) -> String {
        let members: Vec<&Member> = members.collect();
        let who = match members.as_slice() {
            [only] => format!("process {} ({})", only.owner.tgid, only.command),
            _ => format!("{} processes", members.len()),
        };
        let mut files: Vec<String> = self
            .files()
            .map(|file| file.path.display().to_string())
            .collect();
        files.sort();
        files.dedup();
        let functions: usize = self.files().map(|file| file.plan.functions.len()).sum();
        let slow: usize = self.files().map(|file| slow_functions(&file.plan)).sum();
        let slow = if slow > 0 {
            format!(" ({slow} of them slow)")
        } else {
            String::new()
        };
        format!("{who}: {functions} functions{slow} in {}", files.join(", "))
    }

    /// What `-v` tells of the probes.
    pub fn details(&self) -> Vec<String> {
        let line = |file: &Rc<ProbedFile>| {
            let names: Vec<&str> = file
                .plan
                .functions
                .iter()
                .map(|function| function.name.as_str())
                .collect();
            format!("probed {}: {}", file.path.display(), names.join(" "))
        };
        let mut lines: Vec<String> = self.files().map(line).collect();
        lines.push(format!(
            "{} in {} on {}",
            counted(self.attached.probes as u64, "probe"),
            counted(self.attached.links as u64, "link"),
            counted(lines.len() as u64, "file"),
        ));
        lines
    }

    /// Says that removing the probes will take a while, where it will.
    pub fn announce_detaching(&self, method: Method) {
        let links = self.attached.links;
        if method == Method::PerfEvents && links > MANY_PERF_EVENTS {
            let seconds = (PERF_EVENT_CLOSES_IN * links as u32).as_secs_f64().ceil();
            eprintln!("memlens: removing {links} probes, about {seconds} s on this kernel");
        }
    }

    /// A note for each function that is not traced.
    pub fn left_out_notes(&self) -> impl Iterator<Item = String> {
        self.left_out.iter().map(|(path, left)| {
            let path = path.display();
            format!("{} in {path} is not traced: {}", left.name, left.why)
        })
    }
}
