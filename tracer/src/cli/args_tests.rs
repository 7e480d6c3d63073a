//! How words are taken: positions, units, and the completeness of the help.

use super::*;
use clap::CommandFactory;

fn leaks(words: &[&str]) -> LeaksArgs {
    let words = ["memlens", "leaks"].iter().chain(words);
    match Cli::try_parse_from(words).expect("is accepted").command {
        Subcommands::Leaks(args) => *args,
        other => panic!("not leaks: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn pids_come_with_commas_and_repeated() {
    let args = leaks(&["-p", "1,2", "--pid", "3", "2", "7"]);
    assert_eq!(args.target.processes.pid, [1, 2, 3]);
    assert_eq!(args.interval.interval, Duration::from_secs(2));
    assert_eq!(args.interval.count, Some(7));
}

#[test]
fn a_command_keeps_its_own_options_and_the_positionals_stay_ours() {
    let args = leaks(&["500ms", "3", "--", "./prog", "-p", "9", "--", "--json"]);
    assert_eq!(args.interval.interval, Duration::from_millis(500));
    assert_eq!(args.interval.count, Some(3));
    assert_eq!(args.target.command, ["./prog", "-p", "9", "--", "--json"]);
    assert!(!args.output.json);
    assert!(args.target.processes.pid.is_empty());
}

#[test]
fn every_option_of_bcc_memleak_has_its_word() {
    let args = leaks(&[
        "-p",
        "1",
        "-T",
        "3",
        "--sort",
        "age",
        "-o",
        "250",
        "-z",
        "16",
        "-Z",
        "64KiB",
        "-a",
        "-O",
        "/lib/x.so",
        "-S",
        "je_",
        "--stack-depth",
        "20",
        "-v",
        "--color",
        "never",
    ]);
    assert_eq!((args.output.top, args.sort), (3, Sort::Age));
    assert_eq!(args.older, Some(Duration::from_millis(250)));
    assert_eq!(
        (args.sizes.min_size, args.sizes.max_size),
        (Some(16), Some(65_536))
    );
    assert!(args.show_allocs);
    assert_eq!(args.allocator.object, Some(PathBuf::from("/lib/x.so")));
    assert_eq!(args.allocator.symbols_prefix.as_deref(), Some("je_"));
    assert_eq!(args.walk.stack_depth, 20);
}

#[test]
fn arguments_of_a_command_need_not_be_unicode() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'x', 0xff]);
    let words = ["memlens", "trace", "--", "prog"].map(OsString::from);
    let cli = Cli::try_parse_from(words.into_iter().chain([odd.clone()])).expect("is accepted");
    match cli.command {
        Subcommands::Trace(args) => assert_eq!(args.target.command[1], odd),
        other => panic!("not trace: {other:?}"),
    }
}

/// Every argument of every subcommand has a help, and no help line leaves a 100-column terminal.
#[test]
fn help_is_complete_and_narrow() {
    let mut command = Cli::command().term_width(100);
    command.build();
    for sub in command.get_subcommands_mut() {
        for arg in sub.get_arguments() {
            assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
        }
        for line in sub.render_long_help().to_string().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
    for line in command.render_long_help().to_string().lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}
