//! Verdicts in words: one sentence each, which begins with what it is.

use std::time::Duration;

use super::class::{Class, Evidence, Reach};
use super::evidence::{freed_after_lost, growing_link, of_process};
use crate::profile::{FindingKind, Form, Frame, Holder, Measure, Number, Profile, Sample};
use crate::words::units::{bytes, count, counted, duration, plural, speed};
use crate::words::{elide, names, serving};

/// Columns of a function's name in a sentence.
const NAME_COLUMNS: usize = 64;

/// What a verdict is, in a word or two; `None` for findings that are none.
pub const fn mark(kind: FindingKind) -> Option<&'static str> {
    Some(match kind {
        FindingKind::Leak => "leak",
        FindingKind::Collection => "collection that never shrinks",
        FindingKind::Growing => "growing",
        FindingKind::Load => "load",
        FindingKind::OneTimeLoss => "one-time loss",
        FindingKind::TakenBack => "taken back",
        FindingKind::StackOnly => "look at it",
        FindingKind::Cache => "cache or warm-up",
        FindingKind::Turnover => "turnover",
        FindingKind::Unexplained => "unexplained",
        FindingKind::TooEarly => "too early to say",
        FindingKind::Outlook
        | FindingKind::Next
        | FindingKind::Ledger
        | FindingKind::Change
        | FindingKind::Growth => return None,
    })
}

/// A verdict's sentence with its mark.
pub fn marked(kind: FindingKind, text: &str) -> String {
    mark(kind).map_or_else(|| text.to_owned(), |mark| format!("{mark}: {text}"))
}

/// The sentence on a stack.
pub fn of(profile: &Profile, sample: &Sample, class: Class, known: &Evidence) -> String {
    let stack = Stack {
        profile,
        sample,
        known,
    };
    let text = match class {
        Class::Leak => stack.leak(),
        Class::Collection => stack.collection(),
        Class::Growing => stack.growing(),
        Class::Load => stack.load(),
        Class::Lost => stack.lost(),
        Class::TakenBack => stack.taken_back(),
        Class::StackOnly => stack.stack_only(),
        Class::Cache => stack.cache(),
        Class::Turnover => stack.turnover(),
        Class::TooEarly | Class::Quiet => String::new(),
    };
    class
        .kind()
        .map_or(text.clone(), |kind| marked(kind, &text))
}

/// Commands that show more of a stack's memory.
pub fn commands(profile: &Profile, sample: &Sample, class: Class, known: &Evidence) -> Vec<String> {
    let pid = profile
        .subject(sample.subject)
        .and_then(|subject| subject.pid);
    let is_open = class == Class::Growing && known.reach.is_none();
    match pid {
        Some(pid) if is_open && of_process(profile, sample.subject).is_none() => {
            vec![format!("memlens leaks -p {pid} --reach every")]
        }
        _ => Vec::new(),
    }
}

/// The function that wants a stack's memory, for a sentence, with its process where there are several.
fn function(profile: &Profile, sample: &Sample) -> String {
    let frames: Vec<&Frame> = profile.frames(sample).collect();
    let name = match serving::first_meaningful(profile, &frames) {
        Some(frame) => elide::symbol(&names::frame(profile, frame), NAME_COLUMNS),
        None => "a stack that is not known".to_owned(),
    };
    match profile.is_of_many() {
        true => format!("{name} in {}", names::subject_at(profile, sample.subject)),
        false => name,
    }
}

struct Stack<'a> {
    profile: &'a Profile,
    sample: &'a Sample,
    known: &'a Evidence,
}

impl Stack<'_> {
    fn amount(&self, measure: Measure) -> u64 {
        self.profile.amount(self.sample, measure)
    }

    fn reach(&self) -> Reach {
        self.known.reach.unwrap_or_default()
    }

    fn name(&self) -> String {
        function(self.profile, self.sample)
    }

    fn live(&self) -> String {
        bytes(self.known.live_bytes)
    }

    /// "insert grows by 2 KiB/s".
    fn grows(&self) -> String {
        let growth = self.profile.value(self.sample, Measure::HeapGrowthPerS);
        match growth.map(Number::real).filter(|growth| *growth > 0.0) {
            Some(growth) => format!("{} grows by {}", self.name(), speed(growth)),
            None => format!("{} grows", self.name()),
        }
    }

    /// "nothing points to 9,790 of its 9,800 blocks".
    fn lost_blocks(&self, whose: &str) -> String {
        let own = self.amount(Measure::HeapLostBlocks);
        let below = self.amount(Measure::HeapLostWithBlocks);
        let live = self.amount(Measure::HeapLiveBlocks);
        let with = match below {
            0 => String::new(),
            _ => format!(", and only lost blocks to {} more", count(below)),
        };
        let of = match own >= live {
            true => format!("{whose} {}", counted(own, "block")),
            false => format!("{} of {whose} {}", count(own), counted(live, "block")),
        };
        match own {
            0 => format!(
                "only lost blocks point to {} of {whose} blocks",
                count(below)
            ),
            _ => format!("nothing points to {of}{with}"),
        }
    }

    fn leak(&self) -> String {
        format!("{}, and {}", self.grows(), self.lost_blocks("its"))
    }

    /// What is lost beside what is held.
    fn also_lost(&self) -> String {
        match self.reach().lost {
            0 => String::new(),
            lost => format!("; {} of it are lost", bytes(lost)),
        }
    }

    fn collection(&self) -> String {
        let Some(holder) = self.sample.holders.first() else {
            return self.grows();
        };
        let grows = growing_link(self.profile, self.sample, holder);
        let too = grows.map_or_else(String::new, |function| {
            format!(
                ", where {} grows too",
                elide::symbol(function, NAME_COLUMNS)
            )
        });
        format!(
            "{}, {}{too}{}",
            self.grows(),
            held_by(holder),
            self.also_lost()
        )
    }

    fn load(&self) -> String {
        let most = self
            .sample
            .holders
            .first()
            .map_or_else(String::new, |holder| {
                format!(
                    ": {} has most, {} of {} that were looked at",
                    root(holder),
                    count(holder.shared.into()),
                    counted(holder.sampled.into(), "block")
                )
            });
        format!(
            "{}, and many hold it{most}{}",
            self.grows(),
            self.also_lost()
        )
    }

    fn growing(&self) -> String {
        let reach = self.reach();
        let why = if reach.is_taken_back && reach.lost > 0 {
            return format!("{}; {}", self.grows(), self.not_lost());
        } else if self.known.reach.is_none() {
            match of_process(self.profile, self.sample.subject) {
                None if self.profile.meta.last => "; what holds it is not known".to_owned(),
                None => "; what holds it is told at the end, or with --reach every".to_owned(),
                Some(_) => {
                    "; what holds it is not known: none of its blocks could be judged".to_owned()
                }
            }
        } else if reach.stack_only > reach.held {
            ", and only a stack or a register holds it: a variable of a function that does not return, or what is left of one"
                .to_owned()
        } else {
            match self.sample.holders.first() {
                Some(holder) => format!(", {}", held_by(holder)),
                None => ", and something holds it".to_owned(),
            }
        };
        format!("{}{why}{}", self.grows(), self.also_lost())
    }

    fn lost(&self) -> String {
        let loss = self.lost_blocks(&format!("{}'s", self.name()));
        let course = self.sample.course;
        let goes_on = match (
            course.map(|course| course.form),
            course.and_then(|course| course.wait),
        ) {
            (Some(Form::TooEarly), Some(wait)) => {
                format!(
                    "; too early to say whether it goes on: another {}",
                    at_least(wait)
                )
            }
            (Some(Form::TooEarly) | None, _) => "; whether it goes on is not known".to_owned(),
            (Some(Form::Saturating), _) => ", which grow less and less".to_owned(),
            (Some(Form::Turnover), _) => ", which grow only as older blocks go".to_owned(),
            _ => ", which do not grow".to_owned(),
        };
        format!("{loss}{goes_on}")
    }

    /// How many blocks have proven the verdict wrong.
    fn not_lost(&self) -> String {
        let freed = freed_after_lost(self.profile, self.sample);
        let of_process = of_process(self.profile, self.sample.subject);
        let of = match of_process {
            Some(reach) if reach.lost_before >= freed => format!(
                "{} of {}",
                count(freed),
                counted(reach.lost_before, "block")
            ),
            _ => counted(freed, "block"),
        };
        format!(
            "it is not lost, as {of} that {} called lost earlier {} freed since",
            plural(freed, "was", "were"),
            plural(freed, "was", "were")
        )
    }

    fn taken_back(&self) -> String {
        let lost = bytes(self.reach().lost);
        format!(
            "{lost} of {} {}",
            self.name(),
            self.not_lost().replacen("it is", "are", 1)
        )
    }

    fn stack_only(&self) -> String {
        let age = self.known.oldest.unwrap_or_default();
        format!(
            "{} of {}, up to {} old, are held by a stack or a register only",
            bytes(self.reach().stack_only),
            self.name(),
            duration(age)
        )
    }

    fn cache(&self) -> String {
        format!(
            "{} grows less and less, {} so far",
            self.name(),
            self.live()
        )
    }

    fn turnover(&self) -> String {
        format!(
            "{} of {} take the place of blocks that are older than the trace: together they do not grow",
            self.live(),
            self.name()
        )
    }
}

/// "all held by global sessions in app".
fn held_by(holder: &Holder) -> String {
    match holder.shared >= holder.sampled {
        true => format!("all held by {}", root(holder)),
        false => format!(
            "{} of {} that were looked at held by {}",
            count(holder.shared.into()),
            counted(holder.sampled.into(), "block"),
            root(holder)
        ),
    }
}

/// Where a way begins, in words.
fn root(holder: &Holder) -> &str {
    holder.text.split(" -> ").next().unwrap_or(&holder.text)
}

/// A time that is enough, in whole seconds where it is short.
pub fn at_least(wait: Duration) -> String {
    let whole = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    match whole.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        _ => duration(whole),
    }
}
