//! What must hold of the outputs of any profile.

use std::collections::BTreeSet;

use memlens::profile::{Measure, Profile, Source};
use memlens::render::{Format, Options};
use proptest::prelude::*;
use unicode_width::UnicodeWidthChar;

use super::samples::any::any_sample;
use super::samples::xml::check_xml;
use super::{all, colored, folded, markdown, narrow, options, svg, text, written};

/// No line is wider than the terminal, no control character reaches it, and colors only add their sequences.
#[test]
fn any_width_and_color_are_only_layout() {
    for sample in all() {
        let name = sample.name;
        for width in (0..140).step_by(3) {
            let plain = text(&sample, narrow(width));
            for line in plain.split('\n') {
                assert!(columns(line) <= width, "{name}: {width}: {line:?}");
                assert!(!line.contains(char::is_control), "{name}: {line:?}");
            }
            let colored = Options {
                width: Some(width),
                ..colored()
            };
            assert_eq!(
                without_color(&text(&sample, colored)),
                plain,
                "{name}: {width}"
            );
        }
    }
}

fn without_color(text: &str) -> String {
    let sequences = ["\x1b[0m", "\x1b[1m", "\x1b[2m"].iter();
    sequences.fold(text.to_owned(), |text, sequence| text.replace(sequence, ""))
}

fn columns(line: &str) -> usize {
    line.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

/// What stands for letters that are no markup.
const OTHER: char = '\u{fffc}';

/// What a reader of Markdown takes for markup: the letters outside of code that no backslash stands before. Something
/// stands for each of the others, so that what is not together is not joined.
fn markup(line: &str) -> String {
    let mut markup = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
                markup.push(OTHER);
            }
            '`' => {
                letters.find(|letter| *letter == '`');
                markup.push(OTHER);
            }
            other => markup.push(other),
        }
    }
    markup
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No line is wider than the terminal, and no control character reaches it.
    #[test]
    fn lines_stay_within_the_width(
        sample in any_sample(),
        width in 0_usize..140,
        source in any::<bool>(),
        addresses in any::<bool>(),
    ) {
        let options = Options { source, addresses, ..narrow(width) };
        for line in text(&sample, options).split('\n') {
            prop_assert!(columns(line) <= width, "{} columns: {line:?}", columns(line));
            prop_assert!(!line.contains(char::is_control), "{line:?}");
        }
    }

    /// Colors change nothing but the look.
    #[test]
    fn colors_are_only_added(sample in any_sample(), width in prop::option::of(1_usize..140)) {
        let plain = text(&sample, Options { width, ..options() });
        let colored = text(&sample, Options { width, ..colored() });
        prop_assert_eq!(without_color(&colored), plain);
    }

    /// Folded lines parse back: no name separates, and the values add up to those of the samples.
    #[test]
    fn folded_lines_parse_back(sample in any_sample(), is_first in any::<bool>()) {
        let profile = &sample.profile;
        let first = profile.measures.first().copied().filter(|_| is_first);
        let options = Options { measure: first, ..options() };
        let default = [Source::Heap, Source::AddressSpace, Source::Kernel].into_iter()
            .find(|source| profile.has(*source)).and_then(|source| Measure::of(source).next());
        let measure = first.or(default).expect("a measure");
        let mut sum = 0_u64;
        let mut seen = BTreeSet::new();
        for line in folded(&sample, &options).lines() {
            let (stack, value) = line.rsplit_once(' ').expect("a value");
            sum += value.parse::<u64>().expect("a number");
            prop_assert!(stack.split(';').all(|frame| !frame.is_empty()), "{line:?}");
            prop_assert!(seen.insert(stack.to_owned()), "twice: {line:?}");
            let last = stack.rsplit(' ').next().filter(|_| stack.contains(' '));
            prop_assert!(last.is_none_or(|word| word.parse::<f64>().is_err()), "{line:?}");
        }
        let drawn = profile.stack_samples(measure.source()).filter(|sample| !sample.is_backing());
        prop_assert_eq!(sum, drawn.map(|sample| profile.amount(sample, measure)).sum::<u64>());
    }

    /// Any profile is read back from its JSON, and gives a well-formed picture.
    #[test]
    fn any_profile_gives_json_and_a_picture(sample in any_sample()) {
        let json = written(Format::Json, &sample.profile, &options());
        prop_assert_eq!(json.lines().count(), 1);
        prop_assert_eq!(Profile::parse(json.as_bytes()), Ok(sample.profile.clone()));
        prop_assert_eq!(check_xml(&svg(&sample, &options())), Ok(()));
    }

    /// Nothing that a program chose is markup: no row of the table has a bar too many, and there is no element or link.
    #[test]
    fn any_profile_takes_every_form(sample in any_sample()) {
        for format in Format::ALL {
            let mut out = Vec::new();
            format.renderer().render(&sample.profile, &options(), &mut out).expect("a vector takes all");
        }
        let page = written(Format::Html, &sample.profile, &options());
        // Whatever a symbol is called, the page has its own elements alone.
        prop_assert_eq!(page.matches("</script>").count(), 2);
        prop_assert_eq!(page.matches("<script").count(), 2);
    }

    #[test]
    fn names_are_no_markdown(sample in any_sample()) {
        let (_, markdown) = markdown(&sample);
        let rows: Vec<String> = markdown.lines().map(markup).collect();
        let table: BTreeSet<usize> =
            rows.iter().filter(|row| row.starts_with('|')).map(|row| row.matches('|').count()).collect();
        prop_assert!(table.len() <= 1, "{markdown}");
        for (line, row) in markdown.lines().zip(&rows) {
            prop_assert!(!line.contains(char::is_control), "{line:?}");
            prop_assert!(!row.contains(['<', '[', '_', '&']), "{line:?}");
            prop_assert!(!row.contains("://") && !row.to_ascii_lowercase().contains("www."), "{line:?}");
            prop_assert!(row.starts_with('|') || !row.contains('|'), "{line:?}");
            prop_assert!(row.matches(['@', '#']).count() <= row.matches('\u{200b}').count() + 1, "{line:?}");
        }
    }
}
