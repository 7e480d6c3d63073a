//! `memlens kernel`: memory that a victim makes the kernel hold, counted to the object, and let go again.

use anyhow::{Context, Result, ensure};
use memlens_tests::kernel::{KernelReport, fresh, last_report, trace};
use memlens_tests::{Memlens, Program, Victim, need};

/// What a victim has made the kernel hold, and after it was released.
fn held_and_closed(
    words: &[&str],
    what: &str,
    count: &str,
) -> Result<(KernelReport, KernelReport)> {
    let mut victim = Victim::start(
        Program::new("kernel_holder")
            .flag("-pthread")
            .command(&[what, count])?,
    )?;
    let mut memlens = trace(words)?;
    victim.go_to("held")?;
    let held = fresh(&mut memlens)?;
    victim.go_to("closed")?;
    // What waits for all CPUs to pass (RCU) is released a little later.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let closed = fresh(&mut memlens)?;
    last_report(&memlens.interrupt()?)?;
    Ok((held, closed))
}

/// Descriptors of several kinds: one file each, and what belongs to it, on a stack through the system call.
#[test]
fn descriptors_are_counted_to_the_object() -> Result<()> {
    for (what, function, per_one) in [
        ("eventfd", "do_eventfd", 1),
        (
            "timerfd",
            "__do_sys_timerfd_create|__x64_sys_timerfd_create",
            1,
        ),
        ("epoll", "do_epoll_create", 1),
        ("pipe", "do_pipe2", 2),
    ] {
        let (held, closed) = held_and_closed(&[], what, "3000")?;
        let files = stack_of_files(&held, function)
            .with_context(|| format!("{what}: {:?}", held.of_function(function)))?;
        ensure!(files == 3000 * per_one, "{what}: {files} files");
        // Another object for each: its context, or its pipe.
        let others = held.of_function(function);
        ensure!(
            others.values().filter(|count| **count >= 3000).count() >= 2,
            "{what}: {others:?}"
        );
        let left = stack_of_files(&closed, function).unwrap_or(0);
        ensure!(left <= 8, "{what}: {left} files are left");
    }
    Ok(())
}

/// Objects of the cache of files that stacks through a function hold.
fn stack_of_files(report: &KernelReport, function: &str) -> Option<u64> {
    report.of_function(function).get("filp").copied()
}

/// An object's size is that of its cache, as the kernel lists it.
#[test]
fn sizes_are_those_of_the_kernels_list() -> Result<()> {
    let (held, _) = held_and_closed(&[], "eventfd", "1000")?;
    let list = std::fs::read_to_string("/proc/slabinfo")?;
    let size = |name: &str| -> Option<u64> {
        let line = list
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))?;
        line.split_whitespace().nth(3)?.parse().ok()
    };
    let mut compared = 0;
    for stack in held.stacks.iter().filter(|stack| stack.kind == "slab") {
        if let (Some(told), Some(listed)) = (stack.size, size(&stack.what)) {
            ensure!(told == listed, "{}: {told}, not {listed}", stack.what);
            ensure!(
                stack.held.live_bytes == told * stack.held.live_count,
                "{stack:?}"
            );
            compared += 1;
        }
    }
    ensure!(compared > 5, "only {compared} caches are in the list");
    Ok(())
}

/// What is released by `kfree_rcu`, for which there is no tracepoint: seen, or it is said that it is not.
#[test]
fn releases_without_a_tracepoint_are_seen_or_told() -> Result<()> {
    let (held, closed) = held_and_closed(&[], "epoll_items", "2000")?;
    let items = |report: &KernelReport| -> u64 {
        let held = report.of_function("do_epoll_ctl|ep_insert");
        // The pages under them stay with the slab allocator.
        let objects = held.iter().filter(|(what, _)| !what.starts_with("pages"));
        objects.map(|(_, count)| *count).max().unwrap_or(0)
    };
    ensure!(
        (2000..=2010).contains(&items(&held)),
        "{:?}",
        held.of_function("do_epoll_ctl|ep_insert")
    );
    let is_told = closed.notes.iter().any(|note| note.contains("kfree_rcu"));
    ensure!(
        items(&closed) <= 20 || is_told,
        "{:?}: {:?}",
        closed.of_function("do_epoll_ctl|ep_insert"),
        closed.notes
    );
    Ok(())
}

/// Pages in a pipe: as many blocks of one page as were written, by the stack that wrote them.
#[test]
fn pages_are_counted_to_the_page() -> Result<()> {
    let (held, closed) = held_and_closed(&["--order", "0"], "pipe_pages", "200")?;
    ensure!(
        held.only.as_deref() == Some("pages of order 0"),
        "{:?}",
        held.only
    );
    let pages = held.held("pages of order 0", &["anon_pipe_write|pipe_write"]);
    // The test itself has pipes, with a page or two each.
    ensure!(
        (200..=216).contains(&pages.live_count),
        "{pages:?}: {:?}",
        held.kinds
    );
    ensure!(pages.live_bytes == pages.live_count * 4096, "{pages:?}");
    ensure!(held.kinds.keys().eq(["pages"]), "{:?}", held.kinds);
    ensure!(
        held.stacks
            .iter()
            .all(|stack| stack.what == "pages of order 0"),
        "other orders are there"
    );
    let left = closed.held("pages of order 0", &["anon_pipe_write|pipe_write"]);
    let left = left.live_count;
    ensure!(left <= 16, "{left} pages are left");
    Ok(())
}

/// Per-CPU memory of BPF arrays, all CPUs together.
#[test]
fn per_cpu_memory_is_counted_on_all_cpus() -> Result<()> {
    let (held, closed) = held_and_closed(&[], "percpu", "100")?;
    let arrays = held.held("per-CPU memory", &["__sys_bpf"]);
    ensure!(arrays.live_count == 100, "{arrays:?}");
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last: u64 = cpus
        .trim()
        .rsplit(['-', ','])
        .next()
        .context("no CPU")?
        .parse()?;
    ensure!(
        arrays.live_bytes >= 100 * 64 * (last + 1),
        "{arrays:?} on {cpus}"
    );
    // Maps are released by a worker, after a grace period.
    ensure!(
        closed.held("per-CPU memory", &["__sys_bpf"]).live_count < 100,
        "nothing was released"
    );
    Ok(())
}

/// Datagrams that wait in a socket, and are released on another CPU or in another context than they were allocated in.
#[test]
fn what_is_queued_in_sockets_is_held() -> Result<()> {
    let (held, closed) = held_and_closed(&[], "queued", "2000")?;
    let queued = held.of_function("unix_dgram_sendmsg");
    // The head and the data of each.
    ensure!(
        queued
            .values()
            .filter(|count| (2000..=2010).contains(*count))
            .count()
            >= 2,
        "{queued:?}"
    );
    let left: u64 = closed.of_function("unix_dgram_sendmsg").values().sum();
    ensure!(left <= 20, "{left} are left");
    Ok(())
}

/// One cache alone: nothing else is followed.
#[test]
fn one_cache_alone() -> Result<()> {
    let (held, closed) = held_and_closed(&["--slab", "filp"], "eventfd", "3000")?;
    ensure!(
        stack_of_files(&held, "do_eventfd") == Some(3000),
        "{:?}",
        held.kinds
    );
    ensure!(
        held.stacks.iter().all(|stack| stack.what == "filp"),
        "other caches are there"
    );
    ensure!(held.kinds.keys().eq(["slab"]), "{:?}", held.kinds);
    ensure!(
        held.caches.iter().any(|row| row.name == "filp"
            && row.objects_change >= 2_000
            && row.held_bytes.is_some()),
        "{:?}",
        held.caches
    );
    ensure!(
        stack_of_files(&closed, "do_eventfd").unwrap_or(0) <= 8,
        "files are left"
    );
    Ok(())
}

/// A class of kmalloc by its name, and pages of one order.
#[test]
fn one_class_of_kmalloc_alone() -> Result<()> {
    let (held, _) = held_and_closed(&["--slab", "kmalloc-64"], "eventfd", "10")?;
    ensure!(
        held.stacks
            .iter()
            .all(|stack| stack.what == "kmalloc-64" && stack.size == Some(64)),
        "{:?}",
        held.stacks
    );
    Ok(())
}

/// What is younger than asked for is not held, and what is older is.
#[test]
fn only_what_is_old_enough_is_held() -> Result<()> {
    let mut victim = Victim::start(
        Program::new("kernel_holder")
            .flag("-pthread")
            .command(&["eventfd", "500"])?,
    )?;
    let mut memlens = trace(&["--older", "3s", "--slab", "filp"])?;
    victim.go_to("held")?;
    let young = fresh(&mut memlens)?;
    ensure!(
        stack_of_files(&young, "do_eventfd").is_none(),
        "{:?}",
        young.stacks
    );
    ensure!(
        young.totals.live_count >= 500,
        "the totals count every age: {:?}",
        young.totals
    );
    std::thread::sleep(std::time::Duration::from_secs(3));
    let old = fresh(&mut memlens)?;
    ensure!(
        stack_of_files(&old, "do_eventfd") == Some(500),
        "{:?}",
        old.stacks
    );
    let oldest = old
        .stacks
        .iter()
        .filter_map(|stack| stack.oldest_age_ms)
        .min();
    ensure!(oldest >= Some(3000), "{oldest:?}");
    victim.go_to("closed")?;
    last_report(&memlens.interrupt()?)?;
    Ok(())
}

/// A sample gives the same sums, within its error.
#[test]
fn a_sample_is_unbiased() -> Result<()> {
    let (held, closed) = held_and_closed(
        &["--sample-bytes", "4KiB", "--slab", "filp"],
        "eventfd",
        "15000",
    )?;
    let files = held.held("filp", &["do_eventfd"]);
    let sampling = held
        .sampling
        .as_ref()
        .context("it does not say that it is a sample")?;
    let error = sampling["standard_error_bytes"];
    let size = held
        .stacks
        .first()
        .and_then(|stack| stack.size)
        .context("no stack")?;
    let off = files.live_bytes.abs_diff(15_000 * size);
    ensure!(error > 0 && off < 5 * error, "{files:?}, +- {error}");
    ensure!(
        closed.held("filp", &["do_eventfd"]).live_count <= 200,
        "files are left"
    );
    Ok(())
}

/// Pages under slab objects are told, and not added.
#[test]
fn pages_under_slabs_are_not_counted_twice() -> Result<()> {
    let (held, _) = held_and_closed(&[], "queued", "10000")?;
    let under = held.backing.get("slab").copied().unwrap_or_default();
    ensure!(under.live_bytes > 0, "no slab was made: {:?}", held.backing);
    let sum: u64 = held.kinds.values().map(|kind| kind.live_bytes).sum();
    ensure!(held.totals.live_bytes == sum, "{:?}", held.kinds);
    let marked: u64 = held
        .stacks
        .iter()
        .filter(|stack| stack.backing.is_some())
        .map(|stack| stack.held.live_bytes)
        .sum();
    ensure!(marked == under.live_bytes, "{marked} of {under:?}");
    Ok(())
}

/// With a table that is too small the rest is counted, and the report says so.
#[test]
fn a_full_table_is_told() -> Result<()> {
    let (held, _) = held_and_closed(&["--max-live", "256", "--slab", "filp"], "eventfd", "3000")?;
    ensure!(held.loss["live_map_full_blocks"] > 2000, "{:?}", held.loss);
    ensure!(
        held.notes.iter().any(|note| note.contains("--max-live")),
        "{:?}",
        held.notes
    );
    Ok(())
}

#[test]
fn what_is_not_there_is_refused() -> Result<()> {
    need::root()?;
    Memlens::run(["kernel", "--slab", "no-such-cache"])?
        .refused_with(&["no-such-cache", "/proc/slabinfo"])?;
    Memlens::run(["kernel", "--order", "11"])?.refused_with(&["--order", "0 to 10"])
}

/// Without privileges: which capabilities, and what to run.
#[test]
fn it_needs_root() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("memlens");
    std::fs::copy(memlens_tests::paths::memlens()?, &copy)?;
    for path in [folder.path(), &copy] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode)?;
    }
    let mut command = std::process::Command::new(need::program("setpriv")?);
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .arg("kernel");
    Memlens::start_command(command)?
        .wait()?
        .refused_with(&["cap_bpf", "sudo"])
}
