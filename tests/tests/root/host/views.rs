//! How a report of the host is grouped, and what it says to people.

use anyhow::{Context, Result, ensure};
use memlens_tests::cgroup::{Cgroup, container_id};
use memlens_tests::host::Group;
use memlens_tests::{Live, Memlens, Victim};

use super::{LEAK, leak_each, traced};

/// Two processes in a container and one beside it, all in one cgroup.
struct Scene {
    victims: Vec<Victim>,
    container: String,
    outer: Cgroup,
    _inner: Cgroup,
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
            _inner: inner,
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
        .find(|group| group.key == key)
        .with_context(|| format!("no group {key}: {groups:?}"))
}

#[test]
fn by_container() -> Result<()> {
    let mut scene = Scene::new()?;
    let memlens = scene.trace(&["--by", "container"])?;
    scene.run()?;
    let report = memlens.stop()?;
    let host = report.host()?;
    assert_eq!(host.by, "container");
    assert_eq!(host.groups.len(), 2, "{:?}", host.groups);
    let inside = group(&host.groups, &scene.container)?;
    assert_eq!(
        (inside.processes, inside.live_bytes, inside.live_count),
        (2, 60_000, 2)
    );
    Ok(())
}

#[test]
fn by_user() -> Result<()> {
    let mut scene = Scene::new()?;
    let memlens = scene.trace(&["--by", "user"])?;
    scene.run()?;
    let report = memlens.stop()?;
    let host = report.host()?;
    assert_eq!(host.groups.len(), 1, "{:?}", host.groups);
    let root = group(&host.groups, "root")?;
    assert_eq!(
        (root.processes, root.live_bytes, root.live_count),
        (3, 90_000, 3)
    );
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
    assert_eq!(stack.totals.live(), Live::new(90_000, 3));
    let mut pids = stack.also_pids.clone();
    pids.push(stack.pid);
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
    let shown = &report.host()?.process_stacks;
    for victim in &scene.victims {
        let own = shown
            .iter()
            .find(|process| process.pid == victim.pid())
            .with_context(|| format!("no stacks of PID {}", victim.pid()))?;
        assert_eq!(own.stacks_total, 1);
        let [stack] = &own.stacks[..] else {
            anyhow::bail!("{} stacks", own.stacks.len());
        };
        assert_eq!(stack.totals.live(), LEAK);
        ensure!(stack.has("leak_malloc"), "{:?}", stack.names());
    }
    Ok(())
}

/// As people see it: a line for each process, with its name, where it runs and what it holds; and a final line for one that ended.
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
        "--color",
        "never",
    ])?;
    memlens.wait_until_tracing()?;
    scene.run()?;
    // Those that were traced for a while are named when they end.
    std::thread::sleep(std::time::Duration::from_secs(11));
    let leaver = scene.victims.remove(0);
    let pid = leaver.pid();
    leaver.exit()?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    let ended = memlens.interrupt()?;
    ensure!(ended.status.success(), "{}", ended.status);
    let last = format!("process {pid} (host-view, {}) ended after", scene.container);
    ensure!(
        ended
            .errors
            .iter()
            .any(|line| line.contains(&last) && line.contains("1 block")),
        "no line {last:?} on standard error: {:?}",
        ended.errors
    );
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
