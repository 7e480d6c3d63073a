//! How long it takes to begin and to end the trace of a process with twenty libraries.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    Outcome, Plan,
    finding::{Finding, Target},
    samples::Samples,
    table::{Table, ms},
    tracer::{Mode, Tracer},
    victim::{Victim, compile, own_source},
};

/// Libraries beside those that every program has.
const LIBRARIES: usize = 20;
/// How long each trace lasts, so that there is something to report at its end.
const TRACED_FOR: Duration = Duration::from_secs(1);
const LIMIT: Target = Target::AtMost(500.0);

/// Time to attach and to detach.
pub fn latency(plan: &Plan) -> Result<Outcome> {
    let program = compile("libraries", &own_source("libraries")?, &[])?;
    let libraries = (0..LIBRARIES)
        .map(|number| {
            let define = format!("-DNUMBER={number}");
            let flags = ["-shared", "-fPIC", &define];
            let path = compile(
                &format!("library{number}.so"),
                &own_source("library")?,
                &flags,
            )?;
            Ok(path.to_string_lossy().into_owned())
        })
        .collect::<Result<Vec<_>>>()?;
    let mut victim = Victim::speaking(&program, &libraries)?;
    victim.go()?;
    let [mut whole, mut placing, mut detach] = [const { Samples::new() }; 3];
    for _ in 0..plan.runs {
        let tracer = Tracer::leaks(&plan.memlens, victim.pid(), Mode::default())?;
        whole.extend([tracer.attached_in.as_secs_f64() * 1e3]);
        placing.extend(tracer.step("attaching"));
        thread::sleep(TRACED_FOR);
        detach.extend([tracer.end().context("detach")?.took.as_secs_f64() * 1e3]);
    }
    let mut table = Table::new(&["a process with 20 libraries", "best", "median", "worst"]);
    for (name, samples) in [
        ("memlens's start until all probes are on", &whole),
        ("of that, reading files and placing probes", &placing),
        ("Ctrl-C until memlens's exit, last report included", &detach),
    ] {
        table.row([
            name.to_owned(),
            ms(samples.min()),
            ms(samples.median()),
            ms(samples.max()),
        ]);
    }
    Ok(Outcome {
        findings: vec![
            Finding::figure(
                "attach to a process with 20 libraries",
                whole.min(),
                " ms",
                LIMIT,
            ),
            Finding::figure("detach, last report included", detach.min(), " ms", LIMIT),
        ],
        tables: vec![("Attach and detach", table)],
        notes: Vec::new(),
    })
}
