//! Adds up the `test result:` lines of cargo's test binaries.

use std::fmt;

/// Tests over all binaries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and binaries that ended without a result.
    pub failed: u64,
    /// Tests marked `ignored` that were not run.
    pub ignored: u64,
}

impl Tally {
    /// Takes one line of output; anything but a result line changes nothing.
    pub fn read(&mut self, line: &str) {
        let Some(counts) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        let Some((_, counts)) = counts.split_once(". ") else {
            return;
        };
        for count in counts.split(';') {
            match count.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                Some((number, "ignored")) => self.ignored += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// Adds the tests of another run.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn results_add_up() {
        let sum = tally(&[
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s",
            "",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ]);
        assert_eq!(
            sum,
            Tally {
                passed: 13,
                failed: 2,
                ignored: 1
            }
        );
        assert_eq!(sum.to_string(), "13 passed, 2 failed");
    }

    #[test]
    fn other_lines_do_not_count() {
        let sum = tally(&[
            "12 passed; 3 failed",
            "test result: ",
            "test result: ok",
            "the test result: ok. 1 passed",
        ]);
        assert_eq!(sum, Tally::default());
    }

    #[test]
    fn runs_add_up() {
        let mut sum = Tally {
            passed: 1,
            failed: 2,
            ignored: 3,
        };
        sum.add(Tally {
            passed: 10,
            failed: 20,
            ignored: 30,
        });
        assert_eq!(
            sum,
            Tally {
                passed: 11,
                failed: 22,
                ignored: 33
            }
        );
    }
}
