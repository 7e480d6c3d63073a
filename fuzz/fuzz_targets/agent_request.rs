//! Any bytes as a request line to an agent, and as its settings: an answer or a refusal, within the bounds.
#![no_main]

use std::ffi::OsString;

use libfuzzer_sys::fuzz_target;
use memlens::agent::part;
use memlens::agent::route::{MOST_BYTES, Route, route};
use memlens::cli::with_file;
use memlens::profile::{Profile, Subject};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut words = text.splitn(3, '\n');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rest = words.next();
    match route(method, path, rest) {
        Ok(Route::Pprof(_, asked) | Route::Report(asked) | Route::Json(asked)) => {
            assert!(matches!(method, "GET" | "HEAD"));
            assert!(path.len() + rest.map_or(0, str::len) <= MOST_BYTES);
            assert!(asked.pid.is_none_or(|pid| (1..=i32::MAX as u32).contains(&pid)));
            assert!(asked.seconds.is_none_or(|seconds| (1..=120).contains(&seconds)));
            let profile = Profile {
                subjects: vec![Subject::process(1, "a"), Subject::process(2, "b")],
                ..Profile::default()
            };
            let part = part::of(&profile, |subject| asked.is_about(subject));
            assert!(part.subjects.len() <= 2);
        }
        Ok(_) => {}
        Err(refusal) => assert!((400..500).contains(&refusal.status())),
    }
    // A file of settings is what an administrator writes; a slip must give one line all the same.
    if method == "file" {
        let line = ["memlens", "agent"].map(OsString::from);
        if let Err(error) = with_file(&line, rest.unwrap_or_default()) {
            assert!(!format!("{error:#}").is_empty());
        }
    }
});
