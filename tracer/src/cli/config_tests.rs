//! Every refusal of `config`, and what a plain command line comes to.

use clap::Parser;

use super::*;
use crate::process::scope::{Exclude, User};

fn invocation(line: &str) -> Result<Invocation, ConfigError> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let cli = Cli::try_parse_from(words).expect("the words themselves are accepted");
    Invocation::try_from(cli)
}

fn command(line: &str) -> Command {
    invocation(line).expect("is accepted").command
}

fn leaks_of(line: &str) -> LeaksConfig {
    match command(line) {
        Command::Leaks(config) => *config,
        other => panic!("not leaks: {other:?}"),
    }
}

#[test]
fn page_faults_are_followed_where_they_are_asked_for() {
    let vm = |line: &str| match invocation(line).map(|invocation| invocation.command) {
        Ok(Command::Vm(config)) => Ok(config.faults),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(vm("memlens vm -p 1"), Ok(None));
    assert_eq!(vm("memlens vm -p 1 --faults"), Ok(Some(0)));
    assert_eq!(
        vm("memlens vm -p 1 --faults --sample-faults 1"),
        Ok(Some(1))
    );
    let out_of_range = "--sample-faults is 0: give a number from 1 to 65536";
    assert_eq!(
        vm("memlens vm -p 1 --faults --sample-faults 0"),
        Err(out_of_range.to_owned())
    );
    assert_eq!(
        vm("memlens vm -p 1 --width faults"),
        Err("--width faults needs --faults: add it".to_owned())
    );
}

#[test]
fn a_plain_command_line_takes_the_defaults() {
    let expected = LeaksConfig {
        target: Target::Pids(vec![4242]),
        host: None,
        interval: Duration::from_secs(5),
        count: None,
        sizes: SizeRange::ALL,
        older: Duration::ZERO,
        allocator: Allocator::default(),
        output: Output {
            json: false,
            folded: None,
            svg: None,
            top: Some(10),
            source: true,
            addresses: false,
        },
        sort: Sort::Bytes,
        show_allocs: false,
        all_stacks: false,
        fail_over: None,
        combined: false,
        sample_bytes: None,
        stack_depth: 127,
        unwind: Unwind::Auto,
        unwind_memory: 256 << 20,
        max_live: 2_097_152,
    };
    assert_eq!(leaks_of("memlens leaks -p 4242"), expected);
}

#[test]
fn the_three_targets_are_told_apart() {
    let pids = leaks_of("memlens leaks -p 3,1 -p 3").target;
    assert_eq!(pids, Target::Pids(vec![3, 1]));
    let name = leaks_of("memlens leaks -n redis-server 2").target;
    assert_eq!(name, Target::Name("redis-server".to_owned()));
    let program = leaks_of("memlens leaks 1 2 -- ./prog -p 9").target;
    let words = ["./prog", "-p", "9"].map(OsString::from).to_vec();
    assert_eq!(program, Target::Command(words));
}

#[test]
fn the_whole_host_is_a_target_with_its_parts() {
    let all = leaks_of("memlens leaks --all -a 10 3");
    assert_eq!(all.target, Target::Host(Scope::default()));
    assert!(all.show_allocs);
    let defaults = HostConfig {
        by: Grouping::Process,
        per_process: 0,
        cpu_budget_percent: Some(5.0),
    };
    assert_eq!(all.host, Some(defaults));
    let part = leaks_of(
        "memlens leaks --cgroup /sys/fs/cgroup/system.slice/ --user www-data --exclude 812 --exclude java \
         --exclude /user.slice --by container --per-process 3 --cpu-budget off",
    );
    let scope = Scope {
        cgroup: Some("/system.slice".into()),
        user: Some(User::Name("www-data".into())),
        exclude: vec![
            Exclude::Pid(812),
            Exclude::Name("java".into()),
            Exclude::Cgroup("/user.slice".into()),
        ],
    };
    assert_eq!(part.target, Target::Host(scope));
    let settings = HostConfig {
        by: Grouping::Container,
        per_process: 3,
        cpu_budget_percent: None,
    };
    assert_eq!(part.host, Some(settings));
}

#[test]
fn vm_takes_the_whole_host_as_leaks_does() {
    let vm = |line: &str| match command(line) {
        Command::Vm(config) => *config,
        other => panic!("not vm: {other:?}"),
    };
    let all = vm("memlens vm --all --exclude 812");
    let scope = Scope {
        exclude: vec![Exclude::Pid(812)],
        ..Scope::default()
    };
    assert_eq!(all.target, Target::Host(scope));
    assert_eq!(all.by, Some(Grouping::Process));
    let user = vm("memlens vm --user 33 --by stack");
    assert_eq!(user.by, Some(Grouping::Stack));
    assert_eq!(vm("memlens vm -p 1").by, None);
    for line in ["memlens vm --by user -p 1", "memlens vm --exclude a -p 1"] {
        assert!(matches!(invocation(line), Err(ConfigError::NeedsHost(_))));
    }
    let both = invocation("memlens vm --all -p 1");
    assert!(matches!(both, Err(ConfigError::SeveralTargets { .. })));
}

#[test]
fn the_cpu_budget_is_a_share_of_the_machine() {
    let budget = |word: &str| {
        let config = leaks_of(&format!("memlens leaks --all --cpu-budget {word}"));
        config.host.and_then(|host| host.cpu_budget_percent)
    };
    assert_eq!(budget("2.5"), Some(2.5));
    assert_eq!(budget("100%"), Some(100.0));
    assert_eq!((budget("0"), budget("OFF")), (None, None));
}

#[test]
fn top_zero_is_all_and_sizes_and_ages_have_units() {
    let config = leaks_of(
        "memlens leaks -p 1 -T 0 -o 1m -z 1K -Z 1M --sample-bytes 512KiB --fail-over 0 250ms 4",
    );
    assert_eq!(config.output.top, None);
    assert_eq!(config.older, Duration::from_secs(60));
    assert_eq!(
        config.sizes,
        SizeRange {
            min: 1024,
            max: 1 << 20
        }
    );
    assert_eq!(config.sample_bytes.map(NonZeroU64::get), Some(524_288));
    assert_eq!(config.fail_over, Some(0));
    assert_eq!(config.interval, Duration::from_millis(250));
    assert_eq!(config.count.map(NonZeroU64::get), Some(4));
}

/// Each refusal is one line that says what and what to write in its place.
#[test]
fn refusals_say_what_to_do() {
    let cases = [
        (
            "leaks",
            "no target: give -p PID, -n NAME, --all or, at the end, -- COMMAND",
        ),
        (
            "leaks 4242",
            "no target: give -p PID, -n NAME, --all or, at the end, -- COMMAND",
        ),
        (
            "trace",
            "no target: give -p PID, -n NAME or, at the end, -- COMMAND",
        ),
        (
            "leaks -p 1 -n a -- b",
            "several targets (-p and -n and --): give only one of -p PID, -n NAME and -- COMMAND",
        ),
        (
            "leaks -p 1 --all",
            "several targets (-p and --all): give only one of -p PID, -n NAME, --all (--cgroup, --user) and -- COMMAND",
        ),
        (
            "leaks --user root -- ./prog",
            "several targets (--user and --): give only one of -p PID, -n NAME, --all (--cgroup, --user) and -- COMMAND",
        ),
        (
            "leaks -p 1 --by user",
            "--by is for the whole host: trace it with --all, or a part of it with --cgroup or --user",
        ),
        (
            "leaks --exclude 5",
            "--exclude is for the whole host: trace it with --all, or a part of it with --cgroup or --user",
        ),
        (
            "leaks -p 1 --per-process 2",
            "--per-process is for the whole host: trace it with --all, or a part of it with --cgroup or --user",
        ),
        (
            "leaks -n a --cpu-budget 1",
            "--cpu-budget is for the whole host: trace it with --all, or a part of it with --cgroup or --user",
        ),
        (
            "leaks --cgroup ../x",
            "--cgroup \"../x\" means nothing: give a path such as /system.slice/nginx.service",
        ),
        (
            "leaks --all --user=",
            "--user \"\" means nothing: give a user's name or number",
        ),
        (
            "leaks --all --exclude=",
            "--exclude \"\" means nothing: give a process's name or PID, or a cgroup's path with a slash",
        ),
        (
            "doctor -p 1 -n a",
            "several targets (-p and -n): give only one of -p PID, -n NAME and -- COMMAND",
        ),
        ("leaks -n=", "-n is empty: give the name of a program"),
        (
            "leaks -p 1 0",
            "the interval is 0: give a time such as 5 (seconds) or 500ms",
        ),
        (
            "leaks -p 1 5 0",
            "the number of reports is 0: give 1 or more, or leave it out to go on until Ctrl-C",
        ),
        (
            "leaks -p 1 --stack-depth 0",
            "--stack-depth is 0: give a number from 1 to 127",
        ),
        (
            "leaks -p 1 --stack-depth 128",
            "--stack-depth is 128: give a number from 1 to 127",
        ),
        (
            "leaks -p 1 --max-live 0",
            "--max-live is 0: give a number from 1 to 1073741824",
        ),
        (
            "leaks -p 1 --max-live 4294967295",
            "--max-live is 4294967295: give a number from 1 to 1073741824",
        ),
        (
            "leaks -p 1 --sample-bytes 0",
            "--sample-bytes is 0: give a mean distance such as 512KiB, or leave it out to follow \
             every block",
        ),
        (
            "leaks -p 1 -z 2K -Z 1K",
            "--min-size 2048 is larger than --max-size 1024: no block can match, swap them",
        ),
        (
            "trace -p 1 -z 2K -Z 1K",
            "--min-size 2048 is larger than --max-size 1024: no block can match, swap them",
        ),
        (
            "leaks -p 1 --combined -a",
            "--combined keeps no single blocks, which --show-allocs needs: leave out one of the two",
        ),
        (
            "leaks -p 1 --combined -o 1s --fail-over 1M",
            "--combined keeps no single blocks, which --older needs: leave out one of the two",
        ),
        (
            "leaks -p 1 --combined --sort age",
            "--combined keeps no single blocks, which --sort age needs: leave out one of the two",
        ),
        (
            "leaks -p 1 --folded x --svg x",
            "--folded and --svg both write to x: give two files",
        ),
        (
            "leaks -p 1 --svg -",
            "--svg - is no file: standard output carries the report, so name a file",
        ),
        (
            "doctor --probes",
            "--probes needs a process: give -p PID or -n NAME",
        ),
        (
            "doctor --unwind",
            "--unwind needs a process: give -p PID or -n NAME",
        ),
        (
            "demo 0",
            "the duration is 0: give a time such as 5 (seconds) or 500ms",
        ),
    ];
    for (line, message) in cases {
        let refused = invocation(&format!("memlens {line}")).expect_err(line);
        assert_eq!(refused.to_string(), message, "{line}");
    }
}

#[test]
fn an_empty_program_name_is_refused() {
    let cli = Cli::try_parse_from(["memlens", "leaks", "--", ""]).expect("words are accepted");
    let refused = Invocation::try_from(cli).expect_err("is refused");
    assert_eq!(
        refused.to_string(),
        "COMMAND is empty: give the name of a program"
    );
}

#[test]
fn combined_goes_with_what_needs_totals_only() {
    let config = leaks_of("memlens leaks -p 1 --combined --fail-over 1M --sort growth -z 16");
    assert!(config.combined);
    assert_eq!(config.fail_over, Some(1 << 20));
}

#[test]
fn doctor_and_demo_need_nothing() {
    let doctor = Command::Doctor(DoctorConfig {
        target: None,
        allocator: Allocator::default(),
        probes: false,
        unwind: false,
        json: false,
    });
    assert_eq!(command("memlens doctor"), doctor);
    let demo = Command::Demo(DemoConfig {
        duration: Duration::from_secs(10),
        json: false,
        svg: PathBuf::from("memlens-demo.svg"),
    });
    assert_eq!(command("memlens demo"), demo);
}

#[test]
fn options_for_all_subcommands_stand_anywhere() {
    for line in [
        "memlens --color never -v doctor",
        "memlens doctor -v --color never",
    ] {
        let invocation = invocation(line).expect("is accepted");
        assert_eq!((invocation.color, invocation.verbose), (Color::Never, 1));
    }
}
