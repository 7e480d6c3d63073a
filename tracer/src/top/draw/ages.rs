//! How old the live blocks of a stack are, as bars.

use ratatui::style::Style;

use super::theme::Theme;
use crate::profile::Ages;
use crate::words::units::bytes;

/// Ages that have a bar, each with the first of the powers of two in milliseconds that is beyond it.
const BARS: [(&str, usize); 5] = [
    ("1 s", 10),
    ("8 s", 13),
    ("1 min", 16),
    ("9 min", 19),
    ("older", usize::MAX),
];
/// Columns of a bar.
const BAR: usize = 24;

/// A line for each age that blocks have.
pub fn lines(ages: &Ages, columns: usize, theme: &Theme) -> Vec<(String, Style)> {
    if ages.is_empty() {
        return Vec::new();
    }
    let mut sums = [0_u64; BARS.len()];
    for (bucket, amount) in ages.buckets().iter().enumerate() {
        let bar = BARS.iter().position(|(_, end)| bucket <= *end);
        let sum = &mut sums[bar.unwrap_or(BARS.len() - 1)];
        *sum = sum.saturating_add(*amount);
    }
    let most = sums.iter().max().copied().unwrap_or(0).max(1);
    let cells = BAR.min(columns.saturating_sub(22));
    let bars = BARS.iter().zip(sums).map(|((name, _), sum)| {
        let full = (u128::from(sum) * cells as u128).div_ceil(u128::from(most)) as usize;
        let until = if *name == "older" { "" } else { "up to " };
        let text = format!(
            "{:<11} {:>8} {}",
            format!("{until}{name}"),
            bytes(sum),
            theme.bar.0.repeat(full)
        );
        (text.trim_end().to_owned(), Style::new())
    });
    let heading = ("ages of the blocks:".to_owned(), theme.faint);
    std::iter::once(heading).chain(bars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_age_has_its_bar() {
        let mut ages = Ages::default();
        let ms = 1_000_000;
        for (age_ms, amount) in [
            (500, 1_024),
            (1_500, 2_048),
            (30_000, 512),
            (1_000_000, 4_096),
        ] {
            ages.add(age_ms * ms, amount);
        }
        let theme = Theme::new(false, false);
        let lines = lines(&ages, 30, &theme);
        let text: Vec<&str> = lines.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(
            text,
            [
                "ages of the blocks:",
                "up to 1 s      1 KiB ||",
                "up to 8 s      2 KiB ||||",
                "up to 1 min    512 B |",
                "up to 9 min      0 B",
                "older          4 KiB ||||||||",
            ]
        );
        assert!(super::lines(&Ages::default(), 30, &theme).is_empty());
    }
}
