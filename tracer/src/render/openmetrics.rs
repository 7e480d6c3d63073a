//! Metrics as text: OpenMetrics 1.0, or the older text format of Prometheus, whichever a scraper asks for.

use std::fmt::Write as _;

/// The two forms, which differ in how counters are declared and in the end of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The text format of Prometheus, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// What a family of metrics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An amount that goes up and down.
    Gauge,
    /// A count that only goes up, from 0; its name has no `_total`, its samples do.
    Counter,
    /// A text in labels; its value is 1. Its name has no `_info`, its samples do.
    Info,
}

/// Names and values of labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A text of metrics in the making. A family whose samples are none is left out.
#[derive(Debug)]
pub struct Exposition {
    dialect: Dialect,
    text: String,
}

/// The samples of one family.
pub struct Family<'a> {
    out: &'a mut Exposition,
    name: &'static str,
    suffix: &'static str,
    head: Option<String>,
}

impl Dialect {
    /// What an `Accept` header asks for.
    pub fn of_accept(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The type of the content.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Exposition {
    /// Nothing yet.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            text: String::new(),
        }
    }

    /// Begins a family. The name is without the suffix that its kind has.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let suffix = match kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        let (declared, word) = match (self.dialect, kind) {
            (Dialect::OpenMetrics, Kind::Counter) => (name.to_owned(), "counter"),
            (Dialect::OpenMetrics, Kind::Info) => (name.to_owned(), "info"),
            (Dialect::Prometheus, Kind::Counter) => (format!("{name}{suffix}"), "counter"),
            (_, Kind::Gauge | Kind::Info) => (format!("{name}{suffix}"), "gauge"),
        };
        let mut head = format!(
            "# HELP {declared} {}\n# TYPE {declared} {word}\n",
            escaped(help)
        );
        if self.dialect == Dialect::OpenMetrics
            && let Some(unit) = unit(name)
        {
            let _ = writeln!(head, "# UNIT {declared} {unit}");
        }
        Family {
            name,
            suffix,
            head: Some(head),
            out: self,
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.dialect == Dialect::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample. What is no number is left out.
    pub fn sample(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        if !value.is_finite() {
            return self;
        }
        if let Some(head) = self.head.take() {
            self.out.text.push_str(&head);
        }
        let text = &mut self.out.text;
        let _ = write!(text, "{}{}", self.name, self.suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{name}=\"{}\"", escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{end} {value}");
        self
    }

    /// Adds a sample where there is one.
    pub fn maybe(&mut self, labels: Labels<'_>, value: Option<f64>) -> &mut Self {
        match value {
            Some(value) => self.sample(labels, value),
            None => self,
        }
    }
}

/// The unit that a name ends in.
fn unit(name: &str) -> Option<&'static str> {
    let units = ["bytes", "seconds", "ratio"];
    units.into_iter().find(|unit| {
        let stem = name.strip_suffix(unit);
        stem.is_some_and(|stem| stem.ends_with('_')) && !name.ends_with("_per_second")
    })
}

/// Text within quotes: names of programs may hold anything.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(dialect: Dialect) -> String {
        let mut out = Exposition::new(dialect);
        let mut family = out.family(
            "memlens_lost_blocks",
            Kind::Counter,
            "Blocks that were lost.",
        );
        family.sample(&[("reason", "full")], 3.0);
        out.family("memlens_process_memory_bytes", Kind::Gauge, "Memory.")
            .sample(&[("comm", "a\"b\\c\nd\u{1}"), ("unit", "")], 4096.5)
            .sample(&[], f64::NAN);
        out.family("memlens_empty_bytes", Kind::Gauge, "Nothing.");
        out.family("memlens_build", Kind::Info, "The version.")
            .sample(&[("version", "1")], 1.0);
        out.finish()
    }

    #[test]
    fn both_forms_are_as_their_readers_want_them() {
        assert_eq!(
            text(Dialect::Prometheus),
            "# HELP memlens_lost_blocks_total Blocks that were lost.\n\
             # TYPE memlens_lost_blocks_total counter\n\
             memlens_lost_blocks_total{reason=\"full\"} 3\n\
             # HELP memlens_process_memory_bytes Memory.\n\
             # TYPE memlens_process_memory_bytes gauge\n\
             memlens_process_memory_bytes{comm=\"a\\\"b\\\\c\\nd\u{fffd}\",unit=\"\"} 4096.5\n\
             # HELP memlens_build_info The version.\n\
             # TYPE memlens_build_info gauge\n\
             memlens_build_info{version=\"1\"} 1\n"
        );
        let open = text(Dialect::OpenMetrics);
        assert!(
            open.contains("# TYPE memlens_lost_blocks counter\n"),
            "{open}"
        );
        assert!(open.contains("\nmemlens_lost_blocks_total{"), "{open}");
        assert!(
            open.contains("# UNIT memlens_process_memory_bytes bytes\n"),
            "{open}"
        );
        assert!(open.contains("# TYPE memlens_build info\n"), "{open}");
        assert!(open.ends_with("# EOF\n"), "{open}");
    }

    #[test]
    fn an_accept_header_chooses() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        assert_eq!(Dialect::of_accept(prometheus), Dialect::OpenMetrics);
        assert_eq!(Dialect::of_accept("*/*"), Dialect::Prometheus);
    }

    proptest! {
        /// Whatever a program is called, a sample stays one line with its quotes closed.
        #[test]
        fn names_cannot_break_out(name in ".*", value in any::<f64>()) {
            let mut out = Exposition::new(Dialect::Prometheus);
            out.family("memlens_x", Kind::Gauge, &name).sample(&[("comm", &name)], value);
            let text = out.finish();
            let lines = if value.is_finite() { 3 } else { 0 };
            prop_assert_eq!(text.lines().count(), lines);
            if let Some(line) = text.lines().nth(2) {
                let inner = line.strip_prefix("memlens_x{comm=\"").and_then(|rest| rest.rsplit_once("\"} "));
                let (inner, _) = inner.expect("a closed label");
                let mut letters = inner.chars();
                while let Some(letter) = letters.next() {
                    prop_assert_ne!(letter, '"');
                    if letter == '\\' {
                        prop_assert!(letters.next().is_some());
                    }
                }
            }
        }
    }
}
