//! `memlens explain --trace`: whose the growth of a process is.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::explain::{Explained, near};
use memlens_tests::{Memlens, Program, Victim, need};
use serde_json::Value;

/// Longer than any of these tests takes: Ctrl-C ends the trace.
const LONG: &str = "600";

fn traced(pid: u32) -> Result<Memlens> {
    let mut memlens = Memlens::start(["explain", "--json", "--trace", LONG, &pid.to_string()])?;
    memlens.wait_until_tracing()?;
    Ok(memlens)
}

fn explained(memlens: Memlens) -> Result<Explained> {
    let ended = memlens.interrupt()?;
    ensure!(
        ended.status.code() == Some(0),
        "{}: {:?}",
        ended.status,
        ended.errors
    );
    let line = ended.output.first().context("nothing was printed")?;
    Ok(Explained(serde_json::from_str(line)?))
}

fn signed(explained: &Explained, place: &str) -> Result<i64> {
    let value = explained.0.pointer(place).and_then(Value::as_i64);
    value.with_context(|| format!("no number at {place} in {}", explained.0["growth"]))
}

/// Names of the functions on a stack.
fn functions(stack: &Value) -> Vec<&str> {
    let frames = stack["frames"].as_array();
    let names = frames.into_iter().flatten();
    names.filter_map(|frame| frame["symbol"].as_str()).collect()
}

/// The stack of a list that has a function on it.
fn stack_of<'a>(list: &'a Value, function: &str) -> Result<&'a Value> {
    let mut stacks = list["stacks"].as_array().context("no stacks")?.iter();
    let found = stacks.find(|stack| functions(stack).contains(&function));
    found.with_context(|| format!("no stack with {function} in {list}"))
}

fn the_parts_are_the_whole(explained: &Explained) -> Result<()> {
    let part = |name: &str| signed(explained, &format!("/growth/{name}"));
    let sum = part("heap")? + part("mapped")? + part("older")?;
    ensure!(sum == part("resident")?, "{}", explained.0["growth"]);
    ensure!(part("resident")? == signed(explained, "/change/resident")?);
    Ok(())
}

/// Heap blocks, own mappings between them, and pages of the bss: each part has its bytes and its stacks.
#[test]
fn growth_is_told_by_parts_and_stacks() -> Result<()> {
    let mut victim = Victim::start(Program::new("grow_parts").command(&["100"])?)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    let explained = explained(memlens)?;
    explained.check_ledger(victim.pid())?;
    the_parts_are_the_whole(&explained)?;
    let growth = &explained.0["growth"];
    ensure!(
        growth["lost"] == serde_json::json!([]),
        "{}",
        growth["lost"]
    );
    let blocks = &growth["blocks"];
    ensure!(
        blocks["bytes"] == 21_000_000 && blocks["count"] == 1_100,
        "{blocks}"
    );
    let small = stack_of(blocks, "keep_small")?;
    ensure!(
        small["bytes"] == 1_000_000 && small["count"] == 1_000,
        "{small}"
    );
    let large = stack_of(blocks, "keep_large")?;
    ensure!(
        large["bytes"] == 20_000_000 && large["count"] == 100,
        "{large}"
    );
    // A page for each large block's header, and the small ones' own.
    near(explained.number("/growth/heap")?, 21_000_000, 0.05).context("heap")?;
    let mappings = &growth["mappings"];
    near(explained.number("/growth/mapped")?, 3_200 << 10, 0.02).context("mapped")?;
    near(
        explained.number("/growth/mappings/virtual_size")?,
        6_400 << 10,
        0.02,
    )?;
    let own = stack_of(mappings, "map_own")?;
    ensure!(own["ranges"] == 100, "{own}");
    ensure!(
        stack_of(mappings, "keep_large").is_err(),
        "glibc's are not the program's"
    );
    near(explained.number("/growth/older")?, 3_200 << 10, 0.05).context("older")?;
    let row = growth["older_rows"][0]["row"].as_str().unwrap_or_default();
    ensure!(row == "program: data and bss", "{row}");
    explained.says_at(
        "/growth/findings",
        &["is the heap's", "1,100 blocks", "stack #1"],
    )
}

/// An allocator that is not glibc's: what it maps is told from what the program maps by whose function did it.
#[test]
fn growth_with_another_allocator() -> Result<()> {
    let mut command = Program::new("grow_parts").command(&["400"])?;
    command.env("LD_PRELOAD", need::library("libjemalloc.so.2")?);
    let mut victim = Victim::start(command)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    let explained = explained(memlens)?;
    the_parts_are_the_whole(&explained)?;
    let growth = &explained.0["growth"];
    ensure!(growth["blocks"]["count"] == 4_400, "{}", growth["blocks"]);
    near(explained.number("/growth/heap")?, 84_000_000, 0.2).context("heap")?;
    near(explained.number("/growth/mapped")?, 12_800 << 10, 0.05).context("mapped")?;
    stack_of(&growth["mappings"], "map_own")?;
    Ok(())
}

/// Nothing grows: that is said without a stack.
#[test]
fn a_process_at_rest() -> Result<()> {
    let victim = Victim::start(Program::new("reserve").command(&[])?)?;
    let memlens = traced(victim.pid())?;
    std::thread::sleep(Duration::from_millis(300));
    let explained = explained(memlens)?;
    the_parts_are_the_whole(&explained)?;
    ensure!(explained.0["growth"]["blocks"]["count"] == 0);
    ensure!(signed(&explained, "/growth/resident")?.abs() < 256 << 10);
    ensure!(explained.0["growth"]["findings"] == serde_json::json!([]));
    Ok(())
}

/// The process ends in the middle: what it was like before is printed, at once.
#[test]
fn a_process_that_exits_in_the_middle() -> Result<()> {
    let mut victim = Victim::start(Program::new("grow_parts").command(&["10"])?)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    victim.exit()?;
    let ended = memlens.wait()?;
    ensure!(ended.status.code() == Some(0), "{}", ended.status);
    let line = ended.output.first().context("nothing was printed")?;
    let explained = Explained(serde_json::from_str(line)?);
    explained.says_at("/notes", &["exited or replaced its program", "before"])?;
    ensure!(explained.0.get("growth").is_none() && explained.number("/totals/resident")? > 0);
    Ok(())
}

/// A program whose allocator is not found: its mappings are traced all the same.
#[test]
fn blocks_that_cannot_be_traced() -> Result<()> {
    let program = Program::new("grow_parts")
        .statically()
        .flag("-s")
        .named("bare");
    let mut victim = Victim::start(program.command(&["100"])?)?;
    let memlens = traced(victim.pid())?;
    victim.go_to("grown")?;
    let explained = explained(memlens)?;
    the_parts_are_the_whole(&explained)?;
    explained.says_at("/growth/lost", &["blocks of the heap:"])?;
    ensure!(explained.0["growth"]["blocks"].is_null());
    near(explained.number("/growth/mapped")?, 3_200 << 10, 0.02).context("mapped")?;
    near(explained.number("/growth/heap")?, 21_000_000, 0.05).context("heap")
}

/// The text has the parts and the stacks.
#[test]
fn the_text_of_a_trace() -> Result<()> {
    let mut victim = Victim::start(Program::new("grow_parts").command(&["100"])?)?;
    let mut memlens = Memlens::start(["explain", "--trace", LONG, &victim.pid().to_string()])?;
    memlens.wait_until_tracing()?;
    victim.go_to("grown")?;
    let ended = memlens.interrupt()?;
    let text = ended.output.join("\n");
    for part in [
        "growth of RSS, traced for ",
        "heap; of what was allocated meanwhile, 20.0 MiB in 1,100 blocks is live",
        "mapped meanwhile, but not by the allocator: 6.25 MiB of address space in 100 ranges",
        "keep_large",
        "map_own",
        "program: data and bss +3.1",
    ] {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

/// Without rights a trace is refused in one line, and a look without one is not.
#[test]
fn a_trace_without_rights() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("memlens");
    std::fs::copy(memlens_tests::paths::memlens()?, &copy)?;
    for path in [folder.path(), &copy] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let victim = Victim::start(Program::new("reserve").command(&[])?)?;
    let mut command = Command::new(need::program("setpriv")?);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["explain", "--trace", "1", &victim.pid().to_string()]);
    Memlens::start_command(command)?
        .wait()?
        .refused_with(&["cannot trace a process", "run it as root"])
}
