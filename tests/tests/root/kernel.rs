//! `memlens kernel`: memory that a victim makes the kernel hold, counted to the object, and let go again.

use anyhow::{Context, Result, ensure};
use memlens::profile::{KernelKind, KernelObject, LossKey, Measure, Values};
use memlens_tests::kernel::{held as held_by, trace, what_is};
use memlens_tests::{Memlens, Program, Report, Row, Victim, need};
use tracer_common::kernel_memory::KernelLoss;

/// What a victim has made the kernel hold; it is released again, and a report must say so.
fn held_until_released(
    words: &[&str],
    what: &str,
    count: &str,
    is_released: impl Fn(&Report) -> bool,
) -> Result<Report> {
    let mut victim = Victim::start(
        Program::new("kernel_holder")
            .flag("-pthread")
            .command(&[what, count])?,
    )?;
    let mut memlens = trace(words)?;
    victim.go_to("held")?;
    let held = memlens.fresh_report()?;
    victim.go_to("closed")?;
    // What waits for all CPUs to pass (RCU) is released a little later.
    memlens.report_with("the memory is released", is_released)?;
    memlens.stop()?;
    Ok(held)
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
        let left = |report: &Report| stack_of_files(report, function).unwrap_or(0);
        let held = held_until_released(&[], what, "3000", |report| left(report) <= 8)?;
        let files = stack_of_files(&held, function)
            .with_context(|| format!("{what}: {:?}", held.of_kernel_function(function)))?;
        ensure!(files == 3000 * per_one, "{what}: {files} files");
        // Another object for each: its context, or its pipe.
        let others = held.of_kernel_function(function);
        ensure!(
            others.values().filter(|count| **count >= 3000).count() >= 2,
            "{what}: {others:?}"
        );
    }
    Ok(())
}

/// Objects of the cache of files that stacks through a function hold.
fn stack_of_files(report: &Report, function: &str) -> Option<u64> {
    report.of_kernel_function(function).get("filp").copied()
}

/// An object's size is that of its cache, as the kernel lists it.
#[test]
fn sizes_are_those_of_the_kernels_list() -> Result<()> {
    let held = held_until_released(&[], "eventfd", "1000", |_| true)?;
    let list = std::fs::read_to_string("/proc/slabinfo")?;
    let size = |name: &str| -> Option<u64> {
        let line = list
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))?;
        line.split_whitespace().nth(3)?.parse().ok()
    };
    let mut compared = 0;
    for stack in held.kernel() {
        let object = stack.kernel().context("not of the kernel")?;
        let listed = size(&object.what).filter(|_| object.kind == KernelKind::Slab);
        if let (Some(told), Some(listed)) = (object.size, listed) {
            ensure!(told == listed, "{}: {told}, not {listed}", object.what);
            let held = held_by(&stack);
            ensure!(held.bytes == told * held.blocks, "{stack:?}");
            compared += 1;
        }
    }
    ensure!(compared > 5, "only {compared} caches are in the list");
    Ok(())
}

/// What is released by `kfree_rcu`, for which there is no tracepoint: seen, or it is said that it is not.
#[test]
fn releases_without_a_tracepoint_are_seen_or_told() -> Result<()> {
    let items = |report: &Report| -> u64 {
        let held = report.of_kernel_function("do_epoll_ctl|ep_insert");
        held.into_values().max().unwrap_or(0)
    };
    let held = held_until_released(&[], "epoll_items", "2000", |report| {
        items(report) <= 20 || report.check_says(&["kfree_rcu"]).is_ok()
    })?;
    ensure!(
        (2000..=2010).contains(&items(&held)),
        "{:?}",
        held.of_kernel_function("do_epoll_ctl|ep_insert")
    );
    Ok(())
}

/// Pages in a pipe: as many blocks of one page as were written, by the stack that wrote them.
#[test]
fn pages_are_counted_to_the_page() -> Result<()> {
    let held_in = |report: &Report| {
        report.held_by_kernel("pages of order 0", &["anon_pipe_write|pipe_write"])
    };
    let held = held_until_released(&["--order", "0"], "pipe_pages", "200", |report| {
        held_in(report).blocks <= 16
    })?;
    let section = held.kernel_section()?;
    ensure!(
        section.filter.only.as_deref() == Some("pages of order 0"),
        "{section:?}"
    );
    let pages = held_in(&held);
    // The test itself has pipes, with a page or two each.
    ensure!(
        (200..=216).contains(&pages.blocks),
        "{pages:?}: {section:?}"
    );
    ensure!(pages.bytes == pages.blocks * 4096, "{pages:?}");
    ensure!(section.kinds.keys().eq([&KernelKind::Pages]), "{section:?}");
    let rows = held.kernel();
    ensure!(
        rows.iter().all(|row| what_is(row) == "pages of order 0"),
        "other orders are there"
    );
    Ok(())
}

/// Per-CPU memory of BPF arrays, all CPUs together.
#[test]
fn per_cpu_memory_is_counted_on_all_cpus() -> Result<()> {
    let held_in = |report: &Report| report.held_by_kernel("per-CPU memory", &["__sys_bpf"]);
    // Maps are released by a worker, after a grace period.
    let held = held_until_released(&[], "percpu", "100", |report| held_in(report).blocks < 100)?;
    let arrays = held_in(&held);
    ensure!(arrays.blocks == 100, "{arrays:?}");
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last: u64 = cpus
        .trim()
        .rsplit(['-', ','])
        .next()
        .context("no CPU")?
        .parse()?;
    ensure!(
        arrays.bytes >= 100 * 64 * (last + 1),
        "{arrays:?} on {cpus}"
    );
    Ok(())
}

/// Datagrams that wait in a socket, and are released on another CPU or in another context than they were allocated in.
#[test]
fn what_is_queued_in_sockets_is_held() -> Result<()> {
    let left = |report: &Report| -> u64 {
        let of_stacks = report.of_kernel_function("unix_dgram_sendmsg");
        of_stacks.values().sum()
    };
    let held = held_until_released(&[], "queued", "2000", |report| left(report) <= 20)?;
    let queued = held.of_kernel_function("unix_dgram_sendmsg");
    // The head and the data of each.
    ensure!(
        queued
            .values()
            .filter(|count| (2000..=2010).contains(*count))
            .count()
            >= 2,
        "{queued:?}"
    );
    Ok(())
}

/// One cache alone: nothing else is followed.
#[test]
fn one_cache_alone() -> Result<()> {
    let files = |report: &Report| stack_of_files(report, "do_eventfd").unwrap_or(0);
    let held = held_until_released(&["--slab", "filp"], "eventfd", "3000", |report| {
        files(report) <= 8
    })?;
    let section = held.kernel_section()?;
    ensure!(
        stack_of_files(&held, "do_eventfd") == Some(3000),
        "{section:?}"
    );
    ensure!(
        held.kernel().iter().all(|row| what_is(row) == "filp"),
        "other caches are there"
    );
    ensure!(section.kinds.keys().eq([&KernelKind::Slab]), "{section:?}");
    let grown = section.slab.as_ref().context("no slab caches")?;
    ensure!(
        grown.caches.iter().any(|row| row.name == "filp"
            && row.objects_change >= 2_000
            && row.held_bytes.is_some()),
        "{grown:?}"
    );
    ensure!(
        grown.caches.iter().all(|row| row.name == "filp"),
        "caches that are not followed: {grown:?}"
    );
    Ok(())
}

/// A class of kmalloc by its name, and pages of one order.
#[test]
fn one_class_of_kmalloc_alone() -> Result<()> {
    let held = held_until_released(&["--slab", "kmalloc-64"], "eventfd", "10", |_| true)?;
    let rows = held.kernel();
    let is_wanted = |object: &KernelObject| object.what == "kmalloc-64" && object.size == Some(64);
    ensure!(
        rows.iter().all(|row| row.kernel().is_some_and(is_wanted)),
        "{rows:?}"
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
    let young = memlens.fresh_report()?;
    ensure!(
        stack_of_files(&young, "do_eventfd").is_none(),
        "{:?}",
        young.kernel()
    );
    ensure!(
        young.totals().amount(Measure::KernelLiveBlocks) >= 500,
        "the totals count every age: {:?}",
        young.totals()
    );
    let old = memlens.report_with("the files are old enough", |report| {
        stack_of_files(report, "do_eventfd") == Some(500)
    })?;
    let rows = old.kernel();
    let oldest = rows
        .iter()
        .filter_map(|row| row.whole(Measure::KernelOldestMs))
        .min();
    ensure!(oldest >= Some(3000), "{oldest:?}");
    victim.go_to("closed")?;
    memlens.stop()?;
    Ok(())
}

/// A sample gives the same sums, within its error.
#[test]
fn a_sample_is_unbiased() -> Result<()> {
    let held_in = |report: &Report| report.held_by_kernel("filp", &["do_eventfd"]);
    let held = held_until_released(
        &["--sample-bytes", "4KiB", "--slab", "filp"],
        "eventfd",
        "15000",
        |report| held_in(report).blocks <= 200,
    )?;
    let files = held_in(&held);
    let sampling = held.kernel_section()?.sampling;
    let sampling = sampling.context("it does not say that it is a sample")?;
    let error = sampling.standard_error_bytes;
    let rows = held.kernel();
    let object = rows.first().and_then(Row::kernel).context("no stack")?;
    let size = object.size.context("no size")?;
    let off = files.bytes.abs_diff(15_000 * size);
    ensure!(error > 0 && off < 5 * error, "{files:?}, +- {error}");
    Ok(())
}

/// Pages under slab objects are told, and not added.
#[test]
fn pages_under_slabs_are_not_counted_twice() -> Result<()> {
    let held = held_until_released(&[], "queued", "10000", |_| true)?;
    let section = held.kernel_section()?;
    let bytes = |values: &Values| values.amount(Measure::KernelLiveBytes);
    let under = section.backing.get(&KernelKind::Slab).map_or(0, bytes);
    ensure!(under > 0, "no slab was made: {section:?}");
    let sum: u64 = section.kinds.values().map(bytes).sum();
    ensure!(bytes(&held.totals()) == sum, "{section:?}");
    let rows = held.kernel();
    let is_under = |row: &&Row<'_>| row.kernel().is_some_and(|object| object.backing.is_some());
    let marked: u64 = rows
        .iter()
        .filter(is_under)
        .map(|row| held_by(row).bytes)
        .sum();
    ensure!(marked == under, "{marked} of {under}");
    Ok(())
}

/// With a table that is too small the rest is counted, and the report says so.
#[test]
fn a_full_table_is_told() -> Result<()> {
    let held = held_until_released(
        &["--max-live", "256", "--slab", "filp"],
        "eventfd",
        "3000",
        |_| true,
    )?;
    let lost = |loss| held.losses.get(LossKey::Kernel(loss));
    let blocks = lost(KernelLoss::LiveFullBlocks);
    ensure!(blocks > 2000, "{:?}", held.losses);
    let rows = held.kernel();
    let size = rows.first().and_then(|row| row.kernel()?.size);
    let size = size.context("no object of a known size")?;
    assert_eq!(lost(KernelLoss::LiveFullBytes), blocks * size);
    held.check_says(&["--max-live"])
}

#[test]
fn what_is_not_there_is_refused() -> Result<()> {
    need::root()?;
    Memlens::run(["kernel", "--slab", "no-such-cache"])?
        .refused_with(&["no-such-cache", "/proc/slabinfo"])?;
    Memlens::run(["kernel", "--order", "11"])?.misused_with(&["--order", "0 to 10"])
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
