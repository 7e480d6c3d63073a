//! The class of a stack: from plain figures to what its memory is. The order of a report's stacks follows from it.

use std::cmp::Ordering;
use std::time::Duration;

use crate::profile::{FindingKind, Form};

/// What a stack's memory is, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It grows, and nothing points to what it grows by.
    Leak,
    /// It grows, and one holder has all of it.
    Collection,
    /// It grows; what holds it is not known.
    Growing,
    /// It grows, and many hold it.
    Load,
    /// Nothing points to it, and it does not grow.
    Lost,
    /// It was called lost, and as some of it was released since, it is not.
    TakenBack,
    /// It is old, and only a stack or a register holds it.
    StackOnly,
    /// Whether it grows cannot be told yet.
    TooEarly,
    /// It grows less and less.
    Cache,
    /// It takes the place of memory that is older than the trace.
    Turnover,
    /// None of these: it does not grow, or is not followed.
    Quiet,
}

impl Class {
    /// What findings on such a stack are about; `None` where it deserves none of its own.
    pub const fn kind(self) -> Option<FindingKind> {
        Some(match self {
            Self::Leak => FindingKind::Leak,
            Self::Collection => FindingKind::Collection,
            Self::Growing => FindingKind::Growing,
            Self::Load => FindingKind::Load,
            Self::Lost => FindingKind::OneTimeLoss,
            Self::TakenBack => FindingKind::TakenBack,
            Self::StackOnly => FindingKind::StackOnly,
            Self::Cache => FindingKind::Cache,
            Self::Turnover => FindingKind::Turnover,
            Self::TooEarly | Self::Quiet => return None,
        })
    }
}

/// What is known of a stack's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The form of its course; `None` where that is not followed.
    pub form: Option<Form>,
    /// Lower end of its slope, in bytes per second.
    pub growth_low: Option<f64>,
    /// Bytes that it has grown by in the time of the trace, by its slope.
    pub grown_bytes: Option<u64>,
    /// Live bytes.
    pub live_bytes: u64,
    /// Age of the oldest live block.
    pub oldest: Option<Duration>,
    /// What reachability says; `None` where no block was judged.
    pub reach: Option<Reach>,
}

/// What reachability says of a stack's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Nothing points to it, or only what is lost does.
    pub lost: u64,
    /// Something other than a stack or a register holds it.
    pub held: u64,
    /// Only a stack or a register holds it.
    pub stack_only: u64,
    /// Who holds it.
    pub holders: Holders,
    /// Blocks that were called lost have been released since.
    pub is_taken_back: bool,
}

/// Who holds the blocks of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holders {
    /// That was not looked for.
    #[default]
    Unknown,
    /// One, which has a name.
    One,
    /// One, of which only the place is known.
    Nameless,
    /// Many.
    Many,
}

/// Blocks that only a stack holds are worth a look from this age on, and from so many bytes on: most programs keep
/// something for good in a variable of `main`.
const OLD: Duration = Duration::from_secs(30);
const MUCH: u64 = 64 << 10;

/// Blocks younger than this are about to be released, or cannot be told from such.
pub const YOUNG: Duration = Duration::from_secs(1);

impl Reach {
    const fn judged(&self) -> u64 {
        self.lost
            .saturating_add(self.held)
            .saturating_add(self.stack_only)
    }
}

/// The class of a stack's memory.
pub fn class_of(known: &Evidence) -> Class {
    let grows = known.form == Some(Form::Growing);
    let Some(reach) = known.reach else {
        return by_form(known);
    };
    if reach.lost > 0 && reach.is_taken_back {
        return if grows {
            Class::Growing
        } else {
            Class::TakenBack
        };
    }
    if grows {
        return growing(known, &reach);
    }
    let is_old = known.oldest.is_some_and(|age| age >= OLD);
    if reach.lost > 0 {
        Class::Lost
    } else if is_old && reach.stack_only >= MUCH && reach.stack_only >= reach.judged() / 2 {
        Class::StackOnly
    } else {
        by_form(known)
    }
}

/// The class of what grows, by what holds it.
fn growing(known: &Evidence, reach: &Reach) -> Class {
    // A stack may have a plateau of what is held beside the leak: what is lost is compared with what has come.
    let came = known.grown_bytes.unwrap_or(u64::MAX).min(reach.judged());
    if reach.lost > 0 && reach.lost >= came / 2 {
        return Class::Leak;
    }
    match reach.holders {
        _ if reach.stack_only > reach.held => Class::Growing,
        Holders::One => Class::Collection,
        Holders::Many => Class::Load,
        Holders::Nameless | Holders::Unknown => Class::Growing,
    }
}

fn by_form(known: &Evidence) -> Class {
    let is_young = known.oldest.is_some_and(|age| age < YOUNG);
    match known.form {
        Some(Form::Growing) => Class::Growing,
        Some(Form::Saturating) => Class::Cache,
        Some(Form::Turnover) => Class::Turnover,
        Some(Form::TooEarly) if !is_young => Class::TooEarly,
        _ => Class::Quiet,
    }
}

/// Where a stack stands in a report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// Its class.
    pub class: Class,
    /// Lower end of its slope, in bytes per second; 0 where it does not certainly grow.
    pub growth_low: f64,
    /// Bytes that are lost.
    pub lost_bytes: u64,
    /// Live bytes.
    pub live_bytes: u64,
}

impl Rank {
    /// The rank by what is known of a stack.
    pub fn of(known: &Evidence) -> Self {
        Self {
            class: class_of(known),
            growth_low: known.growth_low.unwrap_or(0.0).max(0.0),
            lost_bytes: known.reach.map_or(0, |reach| reach.lost),
            live_bytes: known.live_bytes,
        }
    }

    /// The order of a report: the class, then what grows fastest for certain, what is lost and what lives, most first.
    pub fn compare(&self, other: &Self) -> Ordering {
        self.class
            .cmp(&other.class)
            .then(other.growth_low.total_cmp(&self.growth_low))
            .then(other.lost_bytes.cmp(&self.lost_bytes))
            .then(other.live_bytes.cmp(&self.live_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(form: Form, reach: Option<Reach>) -> Evidence {
        Evidence {
            form: Some(form),
            growth_low: Some(1_900.0),
            grown_bytes: Some(200_000),
            live_bytes: 1_000_000,
            oldest: Some(Duration::from_secs(100)),
            reach,
        }
    }

    fn reach(lost: u64, held: u64, stack_only: u64, holders: Holders) -> Option<Reach> {
        Some(Reach {
            lost,
            held,
            stack_only,
            holders,
            is_taken_back: false,
        })
    }

    #[test]
    fn what_grows_is_told_apart_by_its_holders() {
        use Holders::{Many, Nameless, One, Unknown};
        for (reach, class) in [
            (None, Class::Growing),
            (reach(990_000, 0, 0, Unknown), Class::Leak),
            // A plateau of what is held does not hide the leak, and a few lost blocks are not what grows.
            (reach(190_000, 800_000, 0, One), Class::Leak),
            (reach(5_000, 990_000, 0, One), Class::Collection),
            (reach(0, 990_000, 0, One), Class::Collection),
            (reach(0, 990_000, 0, Many), Class::Load),
            (reach(0, 990_000, 0, Nameless), Class::Growing),
            (reach(0, 990_000, 0, Unknown), Class::Growing),
            (reach(0, 100, 990_000, One), Class::Growing),
        ] {
            assert_eq!(class_of(&known(Form::Growing, reach)), class, "{reach:?}");
        }
    }

    #[test]
    fn what_does_not_grow_is_no_leak() {
        let held = reach(0, 900_000, 0, Holders::One);
        let lost = reach(16, 900_000, 0, Holders::One);
        let on_stack = reach(0, 0, 900_000, Holders::Nameless);
        for (form, reach, class) in [
            (Form::Saturating, None, Class::Cache),
            (Form::Saturating, held, Class::Cache),
            (Form::Turnover, held, Class::Turnover),
            (Form::Steady, held, Class::Quiet),
            (Form::Shrinking, None, Class::Quiet),
            (Form::TooEarly, held, Class::TooEarly),
            (Form::TooEarly, lost, Class::Lost),
            (Form::Steady, lost, Class::Lost),
            (Form::Saturating, lost, Class::Lost),
            (Form::Steady, on_stack, Class::StackOnly),
            (
                Form::Steady,
                reach(0, 0, MUCH - 1, Holders::Many),
                Class::Quiet,
            ),
        ] {
            assert_eq!(class_of(&known(form, reach)), class, "{form:?} {reach:?}");
        }
        assert_eq!(class_of(&Evidence::default()), Class::Quiet);
    }

    #[test]
    fn young_blocks_tell_nothing() {
        let mut young = known(Form::TooEarly, None);
        young.oldest = Some(Duration::from_millis(999));
        assert_eq!(class_of(&young), Class::Quiet);
        let mut on_stack = known(Form::Steady, reach(0, 0, 900_000, Holders::Many));
        on_stack.oldest = Some(Duration::from_secs(29));
        assert_eq!(class_of(&on_stack), Class::Quiet);
    }

    /// A block that was called lost and is released proves that the verdict was wrong.
    #[test]
    fn a_verdict_is_taken_back() {
        let mut wrong = reach(990_000, 0, 0, Holders::Unknown);
        if let Some(reach) = &mut wrong {
            reach.is_taken_back = true;
        }
        assert_eq!(class_of(&known(Form::Growing, wrong)), Class::Growing);
        assert_eq!(class_of(&known(Form::Steady, wrong)), Class::TakenBack);
    }

    #[test]
    fn the_order_is_class_growth_loss_and_size() {
        let rank = |class, growth_low, lost_bytes, live_bytes| Rank {
            class,
            growth_low,
            lost_bytes,
            live_bytes,
        };
        let ordered = [
            rank(Class::Leak, 10.0, 5, 5),
            rank(Class::Leak, 9.0, 9, 9),
            rank(Class::Collection, 99.0, 0, 99),
            rank(Class::Growing, 5.0, 0, 1),
            rank(Class::Load, 5.0, 0, 1),
            rank(Class::Lost, 0.0, 7, 1),
            rank(Class::Lost, 0.0, 6, 99),
            rank(Class::TooEarly, 0.0, 0, 99),
            rank(Class::Quiet, 0.0, 0, 99),
            rank(Class::Quiet, 0.0, 0, 98),
        ];
        let mut shuffled = ordered.to_vec();
        shuffled.reverse();
        shuffled.sort_by(Rank::compare);
        assert_eq!(shuffled, ordered);
    }
}
