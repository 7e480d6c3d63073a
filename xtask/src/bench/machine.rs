//! The machine that a benchmark ran on: numbers mean nothing without it.

use std::fs;

use anyhow::{Context as _, Result};

/// A Markdown head with processor, CPUs and kernel.
pub fn describe() -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("cannot read the kernel's release")?;
    let cpus = std::thread::available_parallelism().context("cannot count the CPUs")?;
    let virtual_machine = if cpuinfo.contains(" hypervisor") {
        ", in a virtual machine"
    } else {
        ""
    };
    Ok(format!(
        "# Performance\n\nMeasured by `cargo xtask bench` on {}, {cpus} CPUs{virtual_machine}, Linux {}.\n",
        processor(&cpuinfo).unwrap_or("an unnamed processor"),
        kernel.trim()
    ))
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
}
