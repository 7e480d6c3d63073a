//! What a benchmark found, next to what it should reach.

use super::table::Table;

/// The bound that a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// There is none: the figure is for comparison.
    None,
}

impl Target {
    fn text(self, unit: &str) -> String {
        match self {
            Self::AtMost(bound) => format!("at most {bound}{unit}"),
            Self::AtLeast(bound) => format!("at least {bound}{unit}"),
            Self::None => String::new(),
        }
    }

    /// Whether a figure keeps it; no number keeps nothing.
    fn met(self, figure: f64) -> &'static str {
        let met = match self {
            Self::AtMost(bound) => figure <= bound,
            Self::AtLeast(bound) => figure >= bound,
            Self::None => return "",
        };
        if met { "yes" } else { "**no**" }
    }
}

/// One row of the table of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    what: String,
    measured: String,
    ratio: String,
    target: String,
    met: String,
}

impl Finding {
    /// A ratio of two measured values.
    pub fn ratio(what: &str, measured: String, ratio: f64, target: Target) -> Self {
        Self {
            what: what.to_owned(),
            measured,
            ratio: format!("{ratio:.2}x"),
            target: target.text("x"),
            met: target.met(ratio).to_owned(),
        }
    }

    /// A figure with a unit, such as " ms".
    pub fn figure(what: &str, figure: f64, unit: &str, target: Target) -> Self {
        Self {
            what: what.to_owned(),
            measured: format!("{figure:.0}{unit}"),
            ratio: String::new(),
            target: target.text(unit),
            met: target.met(figure).to_owned(),
        }
    }

    /// Something that is so or is not.
    pub fn fact(what: &str, measured: String, target: &str, met: bool) -> Self {
        Self {
            what: what.to_owned(),
            measured,
            ratio: String::new(),
            target: target.to_owned(),
            met: if met { "yes" } else { "**no**" }.to_owned(),
        }
    }

    /// What could not be measured, and why; the unit is the target's.
    pub fn unavailable(what: &str, why: &str, unit: &str, target: Target) -> Self {
        Self {
            what: what.to_owned(),
            measured: format!("not available: {why}"),
            ratio: String::new(),
            target: target.text(unit),
            met: "unknown".to_owned(),
        }
    }
}

/// All findings as one table.
pub fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new(&["bench", "measured", "ratio", "target", "met?"]);
    for finding in findings {
        table.row([
            finding.what.clone(),
            finding.measured.clone(),
            finding.ratio.clone(),
            finding.target.clone(),
            finding.met.clone(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_include_their_value() {
        assert_eq!(Target::AtMost(1.8).met(1.8), "yes");
        assert_eq!(Target::AtMost(1.8).met(1.81), "**no**");
        assert_eq!(Target::AtLeast(5.0).met(4.9), "**no**");
        assert_eq!(Target::AtLeast(5.0).met(f64::NAN), "**no**");
        assert_eq!(Target::None.met(7.0), "");
    }

    #[test]
    fn rows_say_bound_and_unit() {
        let finding = Finding::figure("attach", 120.4, " ms", Target::AtMost(500.0));
        assert_eq!(
            (finding.measured.as_str(), finding.target.as_str()),
            ("120 ms", "at most 500 ms")
        );
    }
}
