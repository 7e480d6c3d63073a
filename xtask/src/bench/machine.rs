//! The machine that a benchmark ran on: numbers mean nothing without it.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::run;

/// One sentence each on processor, CPUs, kernel and day.
pub fn describe() -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot read the kernel's release")?;
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?;
    let date = run::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    Ok(format!(
        "{}, {cpus} CPUs, {}, Linux {}, {}",
        processor(&cpuinfo).unwrap_or("an unnamed processor"),
        place(&cpuinfo),
        kernel.trim(),
        date.trim()
    ))
}

/// Whether the machine is a virtual one: traps cost more there.
fn place(cpuinfo: &str) -> &'static str {
    if cpuinfo.split_whitespace().any(|word| word == "hypervisor") {
        "in a virtual machine"
    } else {
        "on bare metal"
    }
}

/// The model name in `/proc/cpuinfo`.
fn processor(cpuinfo: &str) -> Option<&str> {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map(|(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_by_model_name() {
        let text = "processor\t: 0\nmodel\t\t: 6\nmodel name\t: Some CPU @ 2.0GHz\n\nmodel name\t: other\n";
        assert_eq!(processor(text), Some("Some CPU @ 2.0GHz"));
        assert_eq!(processor("processor: 0\n"), None);
    }
    #[test]
    fn virtual_by_flag() {
        assert_eq!(
            place("flags\t\t: fpu hypervisor lahf_lm\n"),
            "in a virtual machine"
        );
        assert_eq!(place("flags\t\t: fpu lahf_lm\n"), "on bare metal");
    }
}
