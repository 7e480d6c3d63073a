//! How a report of the host is grouped, and what it says to people.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::{Group, Grouping};
use memlens_tests::cgroup::{Cgroup, container_id};
use memlens_tests::child::until;
use memlens_tests::{HeapFigures as _, Live, Memlens, Victim};

use super::{LEAK, leak_each, start_probed, traced};

/// Two processes in a container and one beside it, all in one cgroup.
struct Scene {
    victims: Vec<Victim>,
    container: String,
    // In the order in which they are to be dropped.
    inner: Cgroup,
    outer: Cgroup,
}

impl Scene {
    fn new() -> Result<Self> {
        let outer = Cgroup::new()?;
        let id = container_id();
        let inner = outer.below(&format!("/docker-{id}.scope"))?;
        let mut victims = Vec::new();
        for cgroup in [&inner, &inner, &outer] {
            let command = leak_each("host-view").command(&["malloc"])?;
            victims.push(Victim::start(cgroup.enter(command)?)?);
        }
        Ok(Self {
            victims,
            container: format!("docker:{}", &id[..12]),
            outer,
            inner,
        })
    }

    fn trace(&self, more: &[&str]) -> Result<Memlens> {
        traced(&["--cgroup", self.outer.path()], more)
    }

    fn run(&mut self) -> Result<()> {
        self.victims
            .iter_mut()
            .try_for_each(|victim| victim.run().map(|_| ()))
    }
}

fn group<'a>(groups: &'a [Group], key: &str) -> Result<&'a Group> {
    groups
        .iter()
        .find(|group| group.name == key)
        .with_context(|| format!("no group {key}: {groups:?}"))
}

#[test]
fn by_container() -> Result<()> {
    let mut scene = Scene::new()?;
    let memlens = scene.trace(&["--by", "container"])?;
    scene.run()?;
    let report = memlens.stop()?;
    let host = report.host_wide()?;
    assert_eq!(host.by, Grouping::Container);
    assert_eq!(host.groups.len(), 2, "{:?}", host.groups);
    let inside = group(&host.groups, &scene.container)?;
    assert_eq!(inside.processes, 2);
    assert_eq!(inside.totals.live(), Live::new(60_000, 2));
    Ok(())
}

#[test]
fn by_user() -> Result<()> {
    let mut scene = Scene::new()?;
    let memlens = scene.trace(&["--by", "user"])?;
    scene.run()?;
    let report = memlens.stop()?;
    let host = report.host_wide()?;
    assert_eq!(host.groups.len(), 1, "{:?}", host.groups);
    let root = group(&host.groups, "root")?;
    assert_eq!(root.processes, 3);
    assert_eq!(root.totals.live(), Live::new(90_000, 3));
    Ok(())
}

/// The same stack in three processes is one.
#[test]
fn by_stack() -> Result<()> {
    let mut scene = Scene::new()?;
    let memlens = scene.trace(&["--by", "stack"])?;
    scene.run()?;
    let report = memlens.stop()?;
    let stacks = report.stacks_with("leak_malloc");
    let [stack] = stacks[..] else {
        anyhow::bail!("{} stacks through leak_malloc", stacks.len());
    };
    assert_eq!(stack.live(), Live::new(90_000, 3));
    let mut pids = stack.pids();
    pids.sort_unstable();
    let mut expected: Vec<u32> = scene.victims.iter().map(Victim::pid).collect();
    expected.sort_unstable();
    assert_eq!(pids, expected);
    Ok(())
}

#[test]
fn stacks_of_each_process() -> Result<()> {
    let mut scene = Scene::new()?;
    let memlens = scene.trace(&["--per-process", "1"])?;
    scene.run()?;
    let report = memlens.stop()?;
    for victim in &scene.victims {
        let own = report.heap_of(victim.pid());
        let [stack] = &own[..] else {
            anyhow::bail!("PID {}: {own:?}", victim.pid());
        };
        assert_eq!(stack.live(), LEAK);
        ensure!(stack.has("leak_malloc"), "{:?}", stack.names());
    }
    Ok(())
}

/// As people see it: a line for each process, with its name, where it runs and what it holds; and a final line for one
/// that ended.
#[test]
fn as_text() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut memlens = Memlens::start([
        "leaks",
        "--cgroup",
        scene.outer.path(),
        "3600",
        "--cpu-budget",
        "off",
        "--young",
        "--color",
        "never",
    ])?;
    memlens.wait_until_tracing()?;
    scene.run()?;
    // Those that held much are named when they end.
    let command = leak_each("host-view").command(&["malloc", "40"])?;
    let mut leaver = start_probed(scene.inner.enter(command)?)?;
    let pid = leaver.pid();
    leaver.run()?;
    leaver.exit()?;
    let last = format!("process {pid} (host-view, {}) ended after", scene.container);
    until("a line about the end", Duration::from_secs(10), || {
        let lines = memlens.errors().into_iter();
        let mut named = lines.filter(|line| line.contains(&last));
        Ok(named.any(|line| line.contains("40 blocks")).then_some(()))
    })?;
    let ended = memlens.interrupt()?;
    ensure!(ended.status.success(), "{}", ended.status);
    let text = ended.output.join("\n");
    for victim in &scene.victims {
        let row = ended
            .output
            .iter()
            .find(|line| line.trim_start().starts_with(&format!("{} ", victim.pid())))
            .with_context(|| format!("no row of PID {}:\n{text}", victim.pid()))?;
        for word in ["host-view", "root", "29.3 KiB"] {
            ensure!(row.contains(word), "no {word:?} in {row:?}");
        }
    }
    ensure!(
        text.contains(&scene.container),
        "no {}:\n{text}",
        scene.container
    );
    ensure!(text.contains("leak_malloc"), "no stack:\n{text}");
    ensure!(
        text.contains(&format!("{pid}")),
        "no word of PID {pid}:\n{text}"
    );
    Ok(())
}
