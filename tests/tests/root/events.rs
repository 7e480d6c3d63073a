//! `memlens trace`, `memlens doctor --probes` and `memlens demo`.

use anyhow::{Context, Result, ensure};
use memlens_tests::{Memlens, Program, Victim, need};

/// The columns of one event.
struct Event {
    tid: u32,
    function: String,
    /// None for a release, whose line has a dash.
    size: Option<u64>,
    address: String,
    caller: String,
}

/// Events of one process, from the lines of `memlens trace`.
fn events(lines: &[String], pid: u32) -> Result<Vec<Event>> {
    lines
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns.get(1) == Some(&pid.to_string().as_str()))
        .map(|columns| {
            ensure!(columns.len() >= 7, "too few columns: {columns:?}");
            Ok(Event {
                tid: columns[2].parse()?,
                function: columns[3].to_string(),
                size: (columns[4] != "-")
                    .then(|| columns[4].parse())
                    .transpose()?,
                address: columns[5].to_string(),
                caller: columns[6..].join(" "),
            })
        })
        .collect()
}

fn trace_events(victim: &mut Victim) -> Result<Vec<Event>> {
    need::root()?;
    let pid = victim.pid();
    let mut memlens = Memlens::start(["trace", "-p", &pid.to_string()])?;
    memlens.wait_until_tracing()?;
    victim.run()?;
    let ended = memlens.interrupt()?;
    ensure!(ended.status.success(), "{}", ended.status);
    events(&ended.output, pid)
}

#[test]
fn each_call_is_one_line() -> Result<()> {
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc", "20"])?)?;
    let events = trace_events(&mut victim)?;
    assert_eq!(events.len(), 20);
    for event in &events {
        assert_eq!(
            (event.function.as_str(), event.size),
            ("malloc", Some(30_000))
        );
        assert_eq!(event.tid, victim.pid());
        ensure!(
            event.caller.contains("leak_malloc"),
            "the caller is {:?}",
            event.caller
        );
    }
    Ok(())
}

/// Each block's allocation comes before its free.
#[test]
fn frees_follow_their_allocations() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["50", "96"])?)?;
    let events = trace_events(&mut victim)?;
    let of = |function: &str| {
        events
            .iter()
            .filter(|event| event.function == function)
            .map(|event| event.address.as_str())
            .collect::<Vec<_>>()
    };
    let (made, freed) = (of("malloc"), of("free"));
    for event in &events {
        assert_eq!(
            event.size.is_none(),
            event.function == "free",
            "the size of {} is {:?}",
            event.function,
            event.size
        );
    }
    assert_eq!((made.len(), freed.len()), (50, 50));
    assert_eq!(made, freed, "the victim frees in the order of making");
    let first_free = events.iter().position(|event| event.function == "free");
    ensure!(first_free >= Some(50), "a free before its allocation");
    Ok(())
}

/// The trace ends with its target.
#[test]
fn trace_ends_with_the_target() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(Program::new("exit_with_live").command(&["exit"])?)?;
    let pid = victim.pid();
    let mut memlens = Memlens::start(["trace", "-p", &pid.to_string()])?;
    memlens.wait_until_tracing()?;
    victim.go()?;
    let ended = memlens.wait()?;
    ensure!(ended.status.success(), "{}", ended.status);
    let events = events(&ended.output, pid)?;
    assert_eq!(
        events.iter().filter_map(|event| event.size).sum::<u64>(),
        30_000
    );
    let told = format!("process {pid} (");
    ensure!(
        ended
            .errors
            .iter()
            .any(|line| line.contains(&told) && line.ends_with("has exited")),
        "no word of the target's end: {:?}",
        ended.errors
    );
    Ok(())
}

/// Where each function is probed, and whether that is fast.
#[test]
fn doctor_lists_probes() -> Result<()> {
    need::root()?;
    let victim = Victim::start(Program::new("sleepy").command(&[])?)?;
    let ended = Memlens::run(["doctor", "--probes", "-p", &victim.pid().to_string()])?;
    ensure!(ended.status.success(), "{}", ended.status);
    for function in ["malloc", "free", "calloc", "realloc", "posix_memalign"] {
        let line = ended
            .output
            .iter()
            .find(|line| line.split_whitespace().any(|word| word == function))
            .with_context(|| format!("no line for {function}"))?;
        ensure!(line.contains("fast") || line.contains("slow"), "{line}");
    }
    ensure!(
        ended.output.iter().any(|line| line.contains("libc")),
        "no file name"
    );
    Ok(())
}

#[test]
fn doctor_sees_the_machine() -> Result<()> {
    need::root()?;
    let ended = Memlens::run(["doctor"])?;
    let text = ended.output.join("\n").to_lowercase();
    for word in ["kernel", "btf", "tracefs", "memlock", "jit", "lockdown"] {
        ensure!(text.contains(word), "no word of {word}:\n{text}");
    }
    Ok(())
}

/// Ten seconds of a built-in leaky program, with the verdicts on its stacks, and a flame graph.
#[test]
fn demo_finds_its_own_leaks() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let mut command = std::process::Command::new(memlens_tests::paths::memlens()?);
    command.arg("demo").current_dir(folder.path());
    let ended = Memlens::start_command(command)?.wait()?;
    ensure!(ended.status.success(), "{}", ended.status);
    for words in [["leak:", "forget_a_buffer"], ["collection", "SESSIONS"]] {
        let says = |line: &String| words.iter().all(|word| line.contains(word));
        ensure!(
            ended.output.iter().any(says),
            "{words:?}: {:?}",
            ended.output
        );
    }
    let svg = std::fs::read_dir(folder.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "svg"))
        .context("the demo wrote no SVG")?;
    ensure!(
        std::fs::read_to_string(svg)?.contains("<svg"),
        "no SVG in it"
    );
    Ok(())
}

/// More events than a pipe takes at once: those that are lost are counted, the others are whole lines.
#[test]
fn a_slow_reader_loses_nothing_silently() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(Program::new("fill_live").command(&["20000", "32"])?)?;
    let pid = victim.pid();
    let mut memlens = Memlens::start(["trace", "-p", &pid.to_string()])?;
    memlens.wait_until_tracing()?;
    victim.run()?;
    let ended = memlens.interrupt()?;
    ensure!(ended.status.success(), "{}", ended.status);
    let seen = events(&ended.output, pid)?.len();
    ensure!(seen <= 40_000, "{seen} events of 40000");
    let said_lost = ended
        .errors
        .iter()
        .any(|line| line.contains("lost") || line.contains("dropped"));
    ensure!(
        seen == 40_000 || said_lost,
        "{seen} events of 40000, and no word of the others: {:?}",
        ended.errors
    );
    Ok(())
}

/// A memlens that gets no CPU reads nothing: the ring is full, and each event is printed or counted as lost.
#[test]
fn events_that_are_not_read_in_time_are_counted() -> Result<()> {
    const BLOCKS: usize = 200_000;
    need::root()?;
    let mut victim =
        Victim::start(Program::new("fill_live").command(&[&BLOCKS.to_string(), "32"])?)?;
    let pid = victim.pid();
    let mut memlens = Memlens::start(["trace", "-p", &pid.to_string()])?;
    memlens.wait_until_tracing()?;
    memlens.signal(libc::SIGSTOP)?;
    victim.run()?;
    memlens.signal(libc::SIGCONT)?;
    let ended = memlens.interrupt()?;
    ensure!(ended.status.success(), "{}", ended.status);
    let seen = events(&ended.output, pid)?.len();
    // Loss::RingBufferFull, which only standard error tells of.
    let lost = ended.errors.iter().find_map(|line| {
        let (_, rest) = line.split_once(" events, and ")?;
        rest.split_once(" lost ")?.0.parse::<usize>().ok()
    });
    let lost = lost.with_context(|| format!("no word of a loss: {:?}", ended.errors))?;
    ensure!(lost > 10_000, "{lost} events lost");
    assert_eq!(seen + lost, 2 * BLOCKS, "{seen} events printed");
    Ok(())
}
