//! What the agent says, on standard error: one line each. Under systemd the journal has the time, and the level is told
//! in its form (sd-daemon(3)).

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// A filter as `--log` has it; it comes after that.
const VARIABLE: &str = "MEMLENS_LOG";
/// systemd sets it where standard error is the journal.
const JOURNAL: &str = "JOURNAL_STREAM";

/// Where the engine's details come from.
const ENGINE: &str = "memlens::engine::console";

/// Begins to log. Returns how much the engine is to tell, in numbers of `-v`: what passes the filter is also made.
pub fn begin(verbose: u8, filter: Option<&str>) -> u8 {
    let filter = filter_of(verbose, filter, std::env::var(VARIABLE).ok());
    let told = verbose.max(told_of(&filter));
    let layer = fmt::layer().with_ansi(false).with_target(verbose > 0);
    if std::env::var_os(JOURNAL).is_some() {
        let layer = layer.without_time().with_level(false).with_writer(Journal);
        registry().with(layer.with_filter(filter)).init();
    } else {
        let layer = layer.with_writer(io::stderr);
        registry().with(layer.with_filter(filter)).init();
    }
    told
}

fn told_of(filter: &Targets) -> u8 {
    let passes = |level| filter.would_enable(ENGINE, &level);
    u8::from(passes(Level::DEBUG)) + u8::from(passes(Level::TRACE))
}

/// What is let through: what -v and `--log` say, unless the variable says something else.
fn filter_of(verbose: u8, filter: Option<&str>, variable: Option<String>) -> Targets {
    let of_verbose = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let typed = variable.as_deref().and_then(|text| text.parse().ok());
    let typed = typed.or_else(|| filter?.parse().ok());
    // Other crates' events are of no interest unless they are asked for.
    typed.unwrap_or_else(|| {
        let own = Targets::new().with_default(Level::WARN);
        own.with_target(
            "memlens",
            of_verbose.parse::<Level>().unwrap_or(Level::INFO),
        )
    })
}

/// Lines with the level that the journal understands.
struct Journal;

/// One line: what comes before it, until that is written.
struct Line(&'static str);

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line("")
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line(prefix(*meta.level()))
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // At one go, so that no other thread's line comes between.
        let whole = [std::mem::take(&mut self.0).as_bytes(), text].concat();
        io::stderr().write_all(&whole)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The level as syslog(3) numbers it.
fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_after_the_option() {
        let passes = |filter: &Targets, level: Level| filter.would_enable("memlens::agent", &level);
        let plain = filter_of(0, None, None);
        assert!(passes(&plain, Level::INFO) && !passes(&plain, Level::DEBUG));
        assert!(!plain.would_enable("hyper", &Level::INFO));
        assert!(passes(&filter_of(1, None, None), Level::DEBUG));
        assert!(!passes(&filter_of(2, Some("warn"), None), Level::INFO));
        let variable = Some("memlens::agent=trace".to_owned());
        assert!(passes(&filter_of(0, Some("warn"), variable), Level::TRACE));
        let told = |filter| told_of(&filter_of(0, Some(filter), None));
        assert_eq!(
            (told("info"), told("memlens=debug"), told("trace")),
            (0, 1, 2)
        );
        let broken = Some("=,=".to_owned());
        assert!(!passes(&filter_of(0, Some("warn"), broken), Level::INFO));
    }
}
