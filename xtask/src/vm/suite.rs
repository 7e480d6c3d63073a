//! What runs in a guest, and what its output says.

use std::path::Path;

use crate::tally::Tally;

/// The line with which the guest's init says how the job ended.
const ENDED: &str = "vm: ended ";
/// The lines around each command that must be refused.
const RUNS: &str = "vm: runs ";
const CODE: &str = "vm: code ";

/// What the guest is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The root tests that depend on the kernel: those with one of these words in their names.
    Root(&'static [&'static [&'static str]]),
    /// memlens must say why it does not work here.
    Refusal,
}

// Root tests that say something about the kernel, as words that their names contain. The others are about what memlens
// makes of the same data everywhere, or need a machine at its usual speed (real programs under load, gdb's stacks by
// the hundred).

/// How probes are attached differs on every kernel: pairing, task storage, totals, the live table, return probes; raw
/// tracepoints, ring buffers, PIDs; probes on files that are deleted or in another namespace; processes that are
/// admitted at their first call.
pub const ATTACHING: &[&str] = &[
    "accounting::",
    "lifecycle::",
    "losses::a_full_live_map",
    "losses::within_the_limit",
    "allocators::a_deleted_libc",
    "allocators::a_libc_in_another_mount_namespace",
    "host::processes::a_forked_child",
    "host::processes::exec_replaces",
    "host::processes::those_that_ran_before",
    "host::harmless::a_process_outside",
    "host::scope::",
];
/// The walk: bpf_loop, bpf_find_vma, return instances, the trampoline's page, signal frames.
pub const WALKING: &[&str] = &[
    "stacks::",
    "unwinding::cases::",
    "refusals::a_32_bit_process",
];
/// Arguments of the kernel's tracepoints, programs at its functions; page faults, the counters of a thread.
pub const TRACEPOINTS: &[&str] = &[
    "page_faults::each_fault_is_known",
    "page_faults::what_was_touched",
    "kernel::descriptors",
    "kernel::pages_are_counted",
    "kernel::per_cpu_memory",
    "kernel::releases_without",
];
/// The iterator over threads, the scan of pages or the page map.
pub const JUDGING: &[&str] = &[
    "reach::each_hiding_place",
    "reach::explain_finds",
    "reach::what_is_freed",
];
/// What has the same ways into the kernel once more: perf events that follow mappings, targets, filters, events, system
/// calls.
pub const MORE: &[&str] = &[
    "admission::",
    "allocators::an_allocator_loaded_later",
    "events::each_call_is_one_line",
    "events::doctor_sees_the_machine",
    "fault_injection::target_killed_mid_trace",
    "fault_injection::two_at_once_on_one_target",
    "filters::a_sample_is_unbiased",
    "filters::a_sample_returns_to_zero",
    "address_space::a_command_is_followed_to_its_end",
    "address_space::exec_begins_a_new_address_space",
    "address_space::lost_events_are_repaired_from_the_maps",
    "address_space::python_with_threads",
    "targets::",
];

/// The walk through an interpreter, in programs that others call at their ends; what each verifier walks through.
pub const RUNTIMES: &[&str] = &[
    "runtimes::stacks_are_those",
    "runtimes::threads_have",
    "runtimes::mappings_have",
    "verifier::programs_stay_small",
];

/// Other C libraries and allocators: dozens of traces, of which the kernel sees nothing new.
pub const LIBRARIES: &[&str] = &[
    "allocators::jemalloc_preloaded",
    "allocators::musl_dynamic_and_static",
];

/// What needs cgroup version 2, and a clock that may be set.
pub const MACHINES_OF_THEIR_OWN: &[&str] = &["agent::version_two::"];

/// Tests among them whose victims wait a fixed time, which is too short there.
const TOO_FAST: &[&str] = &["unwinding::cases::a_command_by_way_of_a_shell"];

/// Commands that an old kernel cannot do, the exit code of their failure, and whether memlens has more to say than one
/// line.
const REFUSED: &[(&str, u8, bool)] = &[
    ("leaks -p 1", 2, false),
    ("leaks -- true", 125, false),
    ("trace -p 1", 2, false),
    ("doctor", 2, true),
];

/// What each refusal must name: a missing feature and the kernel that has it all.
const REFUSAL_WORDS: &[&str] = &["bpf_loop", "5.17"];

/// Programs that the job needs.
pub struct Programs<'a> {
    /// memlens.
    pub memlens: &'a Path,
    /// The binary of the root tests.
    pub tests: &'a Path,
    /// Root of the checkout.
    pub workspace: &'a Path,
    /// Cargo's output folder.
    pub target: &'a Path,
}

impl Suite {
    /// The shell script of the job, with more words for root tests.
    pub fn script(self, programs: &Programs<'_>, more: &[&[&str]], filters: &[String]) -> String {
        match self {
            Self::Root(words) => root_script(programs, &[words, more].concat(), filters),
            Self::Refusal => refusal_script(programs.memlens),
        }
    }

    /// Counts what passed and failed in the lines that the guest printed; a guest that did not come to its end is one
    /// failure.
    pub fn judge(self, lines: &[String]) -> Tally {
        let mut tally = match self {
            Self::Root(_) => tests(lines),
            Self::Refusal => refusals(lines),
        };
        if tally.failed == 0 && !lines.iter().any(|line| line.starts_with(ENDED)) {
            tally.failed = 1;
        }
        tally
    }
}

fn root_script(programs: &Programs<'_>, words: &[&[&str]], filters: &[String]) -> String {
    let mut script = String::from("export RUST_BACKTRACE=0\n");
    for name in [
        "PATH",
        "HOME",
        "CARGO_HOME",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
    ] {
        if let Ok(value) = std::env::var(name) {
            script += &format!("export {name}={}\n", quoted(&value));
        }
    }
    for (name, path) in [
        ("MEMLENS_BIN", programs.memlens),
        ("CARGO_TARGET_DIR", programs.target),
    ] {
        script += &format!("export {name}={}\n", quoted(&path.display().to_string()));
    }
    script += &format!("export MEMLENS_TEST_PATIENCE={PATIENCE}\n");
    script += &format!(
        "cd {} && {} --test-threads=1 --color=never",
        quoted(&programs.workspace.join("tests").display().to_string()),
        quoted(&programs.tests.display().to_string())
    );
    let selection = words.concat().into_iter().map(str::to_owned);
    let words: Vec<String> = if filters.is_empty() {
        selection.collect()
    } else {
        filters.to_vec()
    };
    if filters.is_empty() {
        for word in TOO_FAST {
            script += &format!(" --skip {}", quoted(word));
        }
    }
    for word in words {
        script += " ";
        script += &quoted(&word);
    }
    script + "\n"
}

/// How many times longer than usual the tests wait for something.
const PATIENCE: u32 = 10;

fn refusal_script(memlens: &Path) -> String {
    let memlens = quoted(&memlens.display().to_string());
    REFUSED
        .iter()
        .map(|(words, ..)| {
            format!("echo '{RUNS}{words}'\n{memlens} {words} 2>&1\necho \"{CODE}$?\"\n")
        })
        .collect()
}

/// The sum of the test binary's result line.
fn tests(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for line in lines {
        tally.read(line);
    }
    if tally == Tally::default() {
        tally.failed = 1;
    }
    tally
}

/// One for each command that had to be refused.
fn refusals(lines: &[String]) -> Tally {
    let mut tally = Tally::default();
    for (words, failure, many_lines) in REFUSED {
        let said: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .skip_while(|line| line.strip_prefix(RUNS) != Some(words))
            .skip(1)
            .take_while(|line| !line.starts_with(RUNS) && !line.starts_with(ENDED))
            .collect();
        if is_refusal(&said, *failure, *many_lines) {
            tally.passed += 1;
        } else {
            tally.failed += 1;
        }
    }
    tally
}

/// Whether memlens ended with this code and said what is missing and what is needed, in one line unless it may say
/// more.
fn is_refusal(said: &[&str], failure: u8, many_lines: bool) -> bool {
    let Some((&code, text)) = said.split_last() else {
        return false;
    };
    code == format!("{CODE}{failure}")
        && (many_lines || text.len() == 1)
        && REFUSAL_WORDS
            .iter()
            .all(|word| text.iter().any(|line| line.contains(word)))
}

/// A word as the shell takes it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests_of_suite {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn test_results_count() {
        let text = "running 2 tests\ntest result: FAILED. 5 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out\nvm: ended 101\n";
        let tally = Suite::Root(&[]).judge(&lines(text));
        assert_eq!((tally.passed, tally.failed), (5, 1));
    }

    #[test]
    fn a_guest_that_dies_is_a_failure() {
        assert_eq!(Suite::Root(&[]).judge(&[]).failed, 1);
        let text = "running 2 tests\ntest a ... ok\nvm: ended 139\n";
        assert_eq!(Suite::Root(&[]).judge(&lines(text)).failed, 1);
        let cut = "test result: ok. 5 passed; 0 failed; 0 ignored\n";
        assert_eq!(Suite::Root(&[]).judge(&lines(cut)).failed, 1);
    }

    #[test]
    fn refusals_must_be_complete() {
        let good =
            "memlens: kernel 5.10 lacks the helper bpf_loop: needs 5.17 or newer\nvm: code 2\n";
        let all = |body: &str| -> Tally {
            let text: String = REFUSED
                .iter()
                .map(|(words, failure, _)| {
                    let body = body.replace("code 2", &format!("code {failure}"));
                    format!("{RUNS}{words}\n{body}")
                })
                .collect();
            Suite::Refusal.judge(&lines(&format!("{text}vm: ended 0\n")))
        };
        assert_eq!((all(good).passed, all(good).failed), (4, 0));
        assert_eq!(all(&good.replace("code 2", "code 1")).failed, 4);
        assert_eq!(all(&good.replace("bpf_loop", "something")).failed, 4);
        assert_eq!(all(&good.replace("5.17", "a newer one")).failed, 4);
        // Only doctor may say more than one line.
        assert_eq!(all(&format!("hello\n{good}")).failed, 3);
        assert_eq!(Suite::Refusal.judge(&[]).failed, 4);
    }

    /// A word that no test has would leave out what it once chose.
    #[test]
    fn every_word_of_the_selection_names_a_test() -> anyhow::Result<()> {
        let folder = crate::run::workspace_root()?.join("tests/tests/root");
        for word in [
            ATTACHING,
            WALKING,
            TRACEPOINTS,
            JUDGING,
            MORE,
            LIBRARIES,
            RUNTIMES,
            MACHINES_OF_THEIR_OWN,
            TOO_FAST,
        ]
        .concat()
        {
            let (module, test) = word.rsplit_once("::").expect("a word names a module");
            let path = folder.join(module.replace("::", "/") + ".rs");
            let source = std::fs::read_to_string(&path)?;
            assert!(source.contains("#[test]"), "{word}");
            assert!(source.contains(&format!("fn {test}")), "{word}");
        }
        Ok(())
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert!(refusal_script(Path::new("/a b")).contains("'/a b' leaks -p 1 2>&1"));
    }
}
