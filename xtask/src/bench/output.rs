//! How long it takes to write ten thousand stacks in each form, and how much memory memlens has meanwhile.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    report::filled,
    samples::Samples,
    table::{Table, ms},
    tracer::peak_megabytes,
};

/// Endings of the forms.
const ENDINGS: [&str; 10] = [
    "txt",
    "json",
    "md",
    "svg",
    "folded",
    "html",
    "pb.gz",
    "speedscope.json",
    "heaptrack",
    "memlens",
];
/// Time between two looks at the memory of a process that lives for some hundred milliseconds.
const LOOK: Duration = Duration::from_micros(300);

/// Time and memory of each form.
pub fn forms(plan: &Plan) -> Result<Outcome> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let recording = folder.path().join("all.memlens");
    let name = recording.to_str().context("a path that is no UTF-8")?;
    let (_victim, mut tracer) = filled(plan, 10, &["--json", "-o", name])?;
    tracer.report_times(1)?;
    tracer.end()?;
    let mut table = Table::new(&["10,000 stacks as", "best", "median", "peak RSS", "size"]);
    let (mut slowest, mut largest) = (0.0_f64, 0.0_f64);
    for ending in ENDINGS {
        let file = folder.path().join(format!("out.{ending}"));
        let mut times = Samples::default();
        let mut peak = 0.0_f64;
        for _ in 0..plan.runs {
            // A recording is added to.
            let _ = fs::remove_file(&file);
            let (took, megabytes) = written(&plan.memlens, &recording, &file)?;
            times.extend([took.as_secs_f64() * 1e3]);
            peak = peak.max(megabytes);
        }
        let size = fs::metadata(&file).context("nothing was written")?.len();
        ensure!(size > 0, "{ending} is empty");
        slowest = slowest.max(times.min());
        largest = largest.max(peak);
        table.row([
            format!(".{ending}"),
            ms(times.min()),
            ms(times.median()),
            format!("{peak:.0} MB"),
            format!("{} kB", size / 1_000),
        ]);
    }
    let mut outcome = Outcome::default();
    outcome.findings.push(Finding::figure(
        "10,000 stacks read from a recording and written, the slowest form",
        slowest,
        " ms",
        Target::AtMost(500.0),
    ));
    outcome.findings.push(Finding::figure(
        "memlens's resident memory then (peak of all forms)",
        largest,
        " MB",
        Target::AtMost(150.0),
    ));
    outcome.tables.push(("Forms of a report", table));
    Ok(outcome)
}

/// Writes a recording's last snapshot to a file: how long that took, and the most memory that was seen meanwhile.
fn written(memlens: &Path, recording: &Path, file: &Path) -> Result<(Duration, f64)> {
    let began = Instant::now();
    let mut child = Command::new(memlens)
        .args(["report", "--top", "1"])
        .arg(recording)
        .arg("-o")
        .arg(file)
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start memlens")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    loop {
        if let Ok(text) = fs::read_to_string(&status) {
            peak = peak.max(peak_megabytes(&text).unwrap_or(0.0));
        }
        match child.try_wait().context("cannot wait for memlens")? {
            Some(status) => {
                ensure!(status.success(), "memlens report failed ({status})");
                return Ok((began.elapsed(), peak));
            }
            None => std::thread::sleep(LOOK),
        }
    }
}
