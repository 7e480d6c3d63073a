//! Groups of processes and of stacks.

use super::*;
use crate::process::cgroup::Place;
use crate::report::ProcessState;

fn process(pid: u32, cgroup: &str, user: &str, live: u64, growth: Option<i64>) -> ProcessRow {
    let host = ProcessHost {
        member: MemberRow {
            place: Place::of(cgroup),
            uid: 0,
            user: user.to_owned(),
            first_seen: Duration::ZERO,
            started_in_trace: false,
            growth_per_minute: growth,
        },
        allocs_per_second: growth.map(|_| 2.5),
        rss_bytes: Some(1 << 20),
        sample_bytes: None,
        probes_off_at: None,
    };
    ProcessRow {
        pid,
        comm: "worker".to_owned(),
        state: ProcessState::Running,
        live_bytes: live,
        live_count: 1,
        alloc_bytes: live,
        alloc_count: 1,
        growth_bytes: None,
        free_bytes: 0,
        free_count: 0,
        host: Some(host),
    }
}

#[test]
fn processes_are_summed_by_container_and_by_user() {
    let web = "0::/system.slice/web.service";
    let rows = [
        process(1, web, "www", 10, Some(-5)),
        process(2, web, "root", 15, None),
        process(3, "0::/system.slice/db.service", "db", 20, None),
    ];
    let containers = groups(&rows, Grouping::Container);
    let told: Vec<_> = containers
        .iter()
        .map(|group| {
            (
                group.key.as_str(),
                group.processes,
                group.live_bytes,
                group.growth_per_minute,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("web.service", 2, 25, Some(-5)),
            ("db.service", 1, 20, None)
        ]
    );
    assert_eq!(containers[0].allocs_per_second, Some(2.5));
    assert_eq!(containers[0].rss_bytes, Some(2 << 20));
    let users = groups(&rows, Grouping::User);
    let users: Vec<&str> = users.iter().map(|group| group.key.as_str()).collect();
    assert_eq!(users, ["db", "root", "www"]);
    assert!(groups(&rows, Grouping::Process).is_empty());
    let mut bare = rows[0].clone();
    bare.host = None;
    assert!(groups(&[bare], Grouping::User).is_empty());
}

fn frame(symbol: &str, address: u64, offset: u64) -> Frame {
    Frame {
        address,
        symbol: Some(symbol.to_owned()),
        offset: Some(offset),
        module: Some(format!("/ns{address}/bin/app").into()),
        module_offset: Some(offset),
        build_id: Some("abcd".to_owned()),
        ..Frame::default()
    }
}

fn stack(pid: u32, live: u64, frames: Vec<Frame>) -> StackRow {
    StackRow {
        pid,
        also: Vec::new(),
        live_bytes: live,
        live_count: 1,
        alloc_bytes: live,
        alloc_count: 1,
        free_bytes: 0,
        free_count: 0,
        growth_bytes: (pid > 1).then_some(7),
        oldest_age: Some(Duration::from_secs(pid.into())),
        truncated: None,
        frames,
        blocks: Vec::new(),
    }
}

#[test]
fn equal_stacks_of_different_processes_are_one() {
    let leak = |base: u64| vec![frame("leak", base + 1, 1), frame("main", base + 2, 2)];
    let elsewhere = |base: u64| vec![frame("leak", base + 9, 9), frame("main", base + 2, 2)];
    let mut cut = stack(5, 1, leak(0x5000));
    cut.truncated = Some("deeper than 2 frames".to_owned());
    let merged = by_stack(vec![
        stack(1, 10, leak(0x1000)),
        stack(4, 100, elsewhere(0x4000)),
        stack(2, 60, leak(0x2000)),
        stack(3, 50, leak(0x3000)),
        stack(3, 5, leak(0x3000)),
        cut,
    ]);
    let told: Vec<_> = merged
        .iter()
        .map(|stack| {
            (
                stack.pid,
                stack.also.clone(),
                stack.live_bytes,
                stack.live_count,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, vec![3, 1], 125, 4),
            (4, vec![], 100, 1),
            (5, vec![], 1, 1)
        ]
    );
    assert_eq!(merged[0].growth_bytes, Some(21));
    assert_eq!(merged[0].oldest_age, Some(Duration::from_secs(3)));
}

#[test]
fn what_is_not_known_is_not_the_same() {
    let unknown = |pid: u32| Frame {
        address: u64::from(pid),
        ..Frame::default()
    };
    let merged = by_stack(vec![
        stack(1, 4, Vec::new()),
        stack(2, 3, Vec::new()),
        stack(3, 2, vec![unknown(3)]),
        stack(4, 1, vec![unknown(4)]),
    ]);
    assert_eq!(merged.len(), 4);
}
