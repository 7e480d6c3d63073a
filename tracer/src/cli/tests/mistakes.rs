//! How each mistake is refused.

use super::*;

/// What contradicts itself is one line that says what to type, and names the help of the command.
#[test]
fn contradictions_are_refused_in_one_line() {
    let everything = "no target: give a PID, a name, --all or, at the end, -- COMMAND";
    let cases = [
        ("leaks", everything),
        ("leaks 5s", everything),
        ("vm 5.5", everything),
        (
            "trace",
            "no target: give a PID, a name or, at the end, -- COMMAND",
        ),
        (
            "leaks 0",
            "invalid value \"0\" for PID|NAME: expected a PID, which is a positive number",
        ),
        (
            "vm -5",
            "invalid value \"-5\" for PID|NAME: expected a PID, which is a positive number",
        ),
        (
            "leaks --all nginx",
            "invalid value \"nginx\" for INTERVAL: expected a time such as 500ms, 5s or 1m30s; what to trace was given \
             already",
        ),
        (
            "leaks nginx soon",
            "invalid value \"soon\" for INTERVAL: expected a time such as 500ms, 5s or 1m30s",
        ),
        (
            "leaks -p 1 0",
            "invalid value \"0\" for INTERVAL: must not be zero: give a value such as 5 (seconds) or 500ms; what to \
             trace was given already",
        ),
        (
            "leaks -p 1 -5",
            "invalid value \"-5\" for INTERVAL: must not be negative; what to trace was given already",
        ),
        (
            "leaks -p 1 5 1.5",
            "invalid value \"1.5\" for COUNT: expected a whole number of reports, such as 3",
        ),
        (
            "leaks -p 1 5 3 2",
            "unexpected argument \"2\": what to trace was given already, so only INTERVAL and COUNT may follow",
        ),
        (
            "top 90s",
            "INTERVAL is longer than a minute: give a shorter one, such as 5s",
        ),
        (
            "top 2s --window 1s",
            "--window is shorter than INTERVAL: give at least the time between two reports",
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
            "leaks -p 1 --combined --older 1s --fail-over 1M",
            "--combined keeps no single blocks, which --older needs: leave out one of the two",
        ),
        (
            "leaks -p 1 --combined --sort age",
            "--combined keeps no single blocks, which --sort age needs: leave out one of the two",
        ),
        (
            "leaks -p 1 --folded x --svg x",
            "two outputs are to be written to x: give two files",
        ),
        (
            "hunt -o x.svg --svg x.svg",
            "two outputs are to be written to x.svg: give two files",
        ),
        (
            "leaks -p 1 -o heap.png",
            "the ending of heap.png names no form: give one of .txt, .json, .md, .svg, .folded, .pb.gz, .speedscope.json, \
             .heaptrack, .html, .memlens, or --format",
        ),
        (
            "leaks -p 1 -o 30s",
            "the ending of 30s names no form: give one of .txt, .json, .md, .svg, .folded, .pb.gz, .speedscope.json, .heaptrack, \
             .html, .memlens, or --format; for blocks older than that give --older 30s",
        ),
        (
            "vm -p 1 --folded x --svg x",
            "two outputs are to be written to x: give two files",
        ),
        (
            "kernel --folded x --svg x",
            "two outputs are to be written to x: give two files",
        ),
        (
            "host 10 --window 5",
            "--window is shorter than INTERVAL: give at least the time between two reports",
        ),
    ];
    for (line, message) in cases {
        let error = parsed(&format!("memlens {line}")).expect_err(line);
        let command = line.split(' ').next().unwrap_or_default();
        let whole = format!("{message}; try 'memlens {command} --help'");
        assert_eq!(
            (error.to_string(), error.outcome().code(false)),
            (whole, 2),
            "{line}"
        );
    }
    let refused = parse_from(["memlens", "leaks", "--", ""]).expect_err("is refused");
    assert!(
        refused
            .to_string()
            .starts_with("COMMAND is empty: give the name of a program")
    );
}

/// What clap refuses keeps clap's form: the first line says what is wrong, and tips and usage follow.
#[test]
fn mistakes_say_what_is_wrong() {
    let apart = |one: &str, other: &str| format!("the argument '{one}' cannot be used with{other}");
    let process = ":\n  --pid <PID>\n  --name <NAME>\n";
    let invalid = |value: &str, option: &str, why: &str| {
        format!("invalid value '{value}' for '{option}': {why}\n")
    };
    let missing =
        |which: &str| format!("the following required arguments were not provided:\n  {which}");
    let scope = "<--all|--cgroup <PATH>|--user <USER>>\n";
    let time = "expected a time such as 500ms, 5s or 1m30s";
    let pid = "expected a PID, which is a positive number";
    let cases = [
        ("leaks -p 1 -n a", apart("--pid <PID>", " '--name <NAME>'\n")),
        ("doctor -p 1 -n a", apart("--pid <PID>", " '--name <NAME>'\n")),
        ("leaks -p 1 -- b", apart("[COMMAND]...", process)),
        ("leaks -p 1 --all", apart("--all", process)),
        ("leaks --user root -- ./prog", apart("--user <USER>", " '[COMMAND]...'\n")),
        ("leaks -p 1 --by user", apart("--by <WHAT>", process)),
        ("vm --exclude a -p 1", apart("--exclude <NAME|PID|CGROUP>", process)),
        ("leaks -p 1 --per-process 2", apart("--per-process <N>", process)),
        ("leaks -n a --cpu-budget 1", apart("--cpu-budget <PERCENT>", process)),
        ("kernel --slab a --order 1", apart("--slab <NAME>", " '--order <N>'\n")),
        ("kernel --slab a --movable", apart("--slab <NAME>", " '--movable'\n")),
        ("top --cpu-budget 1", missing(scope)),
        ("explain 1 -p 1", apart("[PID|NAME]", " '--pid <PID>'\n")),
        ("explain 1 --trace 5 --diff a", apart("--trace <SECONDS>", " '--diff <FILE>'\n")),
        ("leaks --exclude 5", missing(scope)),
        ("leaks --per-process 2", missing(scope)),
        ("vm -p 1 --width faults", missing("--faults\n")),
        ("doctor --probes", missing("<--pid <PID>|")),
        ("explain", missing("<PID|NAME|--pid <PID>|")),
        ("leaks -p x", invalid("x", "--pid <PID>", pid)),
        ("leaks -p 1,,2", invalid("", "--pid <PID>", pid)),
        ("leaks -p -5", invalid("-5", "--pid <PID>", pid)),
        ("explain -p 1,2", invalid("1,2", "--pid <PID>", pid)),
        ("explain 0", invalid("0", "[PID|NAME]", pid)),
        ("leaks -n=", "a value is required for '--name <NAME>'".into()),
        (
            "kernel nginx",
            format!(
                "invalid value 'nginx' for '[INTERVAL]': {time} (to trace a process by its name give -n, as in \
                 'memlens leaks -n nginx')"
            ),
        ),
        ("host 5 0", invalid("0", "[COUNT]", "expected a whole number of reports, such as 3")),
        ("leaks --older -5s", invalid("-5s", "--older <AGE>", "must not be negative")),
        ("leaks -z -1K", invalid("-1K", "--min-size <BYTES>", "must not be negative")),
        ("leaks --older --json", invalid("--json", "--older <AGE>", time)),
        ("host --window soon", invalid("soon", "--window <TIME>", time)),
        ("leaks -T -1", invalid("-1", "--top <N>", "expected a whole number, such as 20")),
        (
            "vm --stack-depth 0",
            invalid(
                "0",
                "--stack-depth <N>",
                "expected a whole number from 1 to 127",
            ),
        ),
        (
            "leaks --max-live 4294967295",
            invalid(
                "4294967295",
                "--max-live <N>",
                "expected a whole number from 1 to 134217728",
            ),
        ),
        (
            "leaks -p 1 --group-frames 0",
            invalid("0", "--group-frames <N>", "expected a whole number from 1 to 4096"),
        ),
        ("kernel --order 11", invalid("11", "--order <N>", "expected a whole number from 0 to 10")),
        (
            "vm --sample-faults 0",
            invalid(
                "0",
                "--sample-faults <N>",
                "expected a whole number from 1 to 65536",
            ),
        ),
        (
            "kernel --sample-bytes 0",
            invalid(
                "0",
                "--sample-bytes <BYTES>",
                "must not be zero: give a value such as 512KiB",
            ),
        ),
        (
            "leaks --cgroup ../x",
            invalid(
                "../x",
                "--cgroup <PATH>",
                "expected a path such as /system.slice/nginx.service",
            ),
        ),
        (
            "leaks --user=",
            invalid(
                "",
                "--user <USER>",
                "expected the name or the number of a user",
            ),
        ),
        (
            "leaks --exclude=",
            invalid(
                "",
                "--exclude <NAME|PID|CGROUP>",
                "expected the name or the PID of a process, or the path of a cgroup with a slash",
            ),
        ),
        (
            "leaks --cpu-budget 101",
            invalid(
                "101",
                "--cpu-budget <PERCENT>",
                "expected a percentage from 0.1 to 100, or off",
            ),
        ),
        (
            "leaks -S je-",
            invalid(
                "je-",
                "--symbols-prefix <PREFIX>",
                "expected letters, digits and underscores, such as je_",
            ),
        ),
        (
            "host --csv -",
            invalid(
                "-",
                "--csv <FILE>",
                "standard output carries the report: give the name of a file",
            ),
        ),
        ("host --by pod", "invalid value 'pod' for '--by <WHAT>'\n  [possible values: process, name,".into()),
        ("kernel -p 3", "unexpected argument '-p' found\n".into()),
        ("trace 4242 -p 1", apart("[PID|NAME]", " '--pid <PID>'\n")),
        ("doctor nginx vm", "unexpected argument 'vm' found\n\nUsage:".into()),
        ("man leaks --to .", apart("[COMMAND]", " '--to <FOLDER>'\n")),
        ("completions csh", "invalid value 'csh' for '<SHELL>'\n  [possible values: bash,".into()),
        ("explain 1 2", "unexpected argument '2' found\n\nUsage:".into()),
        ("host -w", "unexpected argument '-w' found\n\n  tip: a view that refreshes in place is 'memlens top'\n".into()),
        ("trace --all", "unexpected argument '--all' found\n\nUsage:".into()),
        ("leaks --jsn", "unexpected argument '--jsn' found\n\n  tip: a similar argument exists: '--json'\n".into()),
        ("leeks", "unrecognized subcommand 'leeks'\n\n  tip: a similar subcommand exists: 'leaks'\n".into()),
    ];
    for (line, message) in cases {
        let error = parsed(&format!("memlens {line}")).expect_err(line);
        let shown = error.to_string();
        assert!(
            shown.starts_with(&format!("error: {message}")),
            "{line}: {shown}"
        );
        assert!(
            shown.ends_with("For more information, try '--help'.\n"),
            "{line}: {shown}"
        );
        assert_eq!(error.outcome().code(false), 2, "{line}");
    }
}

#[test]
fn help_and_version_are_no_mistakes_but_nothing_at_all_is() {
    for (line, code) in [
        ("memlens --help", 0),
        ("memlens leaks -h", 0),
        ("memlens help vm", 0),
        ("memlens --version", 0),
        ("memlens", 2),
    ] {
        assert_eq!(
            parsed(line).expect_err(line).outcome().code(false),
            code,
            "{line}"
        );
    }
}
