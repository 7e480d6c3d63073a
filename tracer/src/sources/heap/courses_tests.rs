use proptest::prelude::*;

use super::*;

const OWNER: Owner = Owner { tgid: 7, image: 1 };

fn live(bytes: u64) -> StackTotals {
    StackTotals {
        alloc_bytes: bytes,
        alloc_count: COUNT_ONE,
        ..StackTotals::default()
    }
}

fn none(_: u32) -> Lifetimes {
    Lifetimes::default()
}

proptest! {
    /// However long it runs, memory is bounded, the first and the last time are there, and a line is that line.
    #[test]
    fn long_courses_stay_short(seconds in 1u32..3_000, begins in 0u32..3_000, slope in 1u64..4_000) {
        let mut courses = Courses::default();
        let bytes = |at: u32| u64::from(at.saturating_sub(begins)) * slope;
        let mut looks = 0;
        for second in 1..=seconds {
            if courses.is_due(f64::from(second)) {
                looks += 1;
                let moment = Moment { live: bytes(second), ..Moment::default() };
                courses.look(f64::from(second), &[(3, OWNER, live(bytes(second)))], [(OWNER, moment)], none, |_| true);
            }
        }
        prop_assert!(looks <= seconds && courses.times.len() < MOST);
        let now = f64::from(seconds) + 0.5;
        let points = courses.of_stack(OWNER, [3], Some((now, bytes(seconds))));
        prop_assert_eq!(points.last().map(|point| point.0), Some(now));
        for (at, value) in &points[..points.len() - 1] {
            prop_assert_eq!(*value, bytes(*at as u32) as f64, "at {}", at);
        }
        let program = courses.of_program(OWNER, None, |moment| moment.live as f64);
        prop_assert_eq!(program[0], (0.0, 0.0));
        prop_assert!(program.iter().all(|(at, value)| *value == bytes(*at as u32) as f64));
        prop_assert!(program.len() >= (seconds as usize).min(MOST / 2 - 1));
    }
}

#[test]
fn a_row_of_another_program_begins_anew() {
    let mut courses = Courses::default();
    let other = Owner { tgid: 8, image: 2 };
    courses.look(1.0, &[(3, OWNER, live(500))], [], none, |_| true);
    courses.look(2.0, &[(3, other, live(70))], [], none, |_| true);
    assert_eq!(
        courses.of_stack(other, [3], None),
        [(1.0, 0.0), (2.0, 70.0)]
    );
    assert_eq!(courses.of_stack(OWNER, [3], None), [(2.0, 0.0)]);
    courses.look(3.0, &[], [], none, |owner| owner != other);
    assert!(courses.stacks.is_empty());
}

#[test]
fn rows_of_one_stack_add_up() {
    let mut courses = Courses::default();
    courses.look(1.0, &[(3, OWNER, live(500))], [], none, |_| true);
    courses.look(
        2.0,
        &[(3, OWNER, live(500)), (4, OWNER, live(20))],
        [],
        none,
        |_| true,
    );
    let points = courses.of_stack(OWNER, [3, 4], Some((2.5, 600)));
    assert_eq!(
        points,
        [(0.0, 0.0), (1.0, 500.0), (2.0, 520.0), (2.5, 600.0)]
    );
}

/// The course of a program that is over ends with it.
#[test]
fn what_ended_stays_as_it_was() {
    let mut courses = Courses::default();
    courses.look(1.0, &[(3, OWNER, live(500))], [], none, |_| true);
    courses.look(2.0, &[], [], none, |_| true);
    courses.look(3.0, &[], [], none, |_| true);
    assert_eq!(
        courses.of_stack(OWNER, [3], None),
        [(0.0, 0.0), (1.0, 500.0)]
    );
}

/// Counts of 32 bits go round; sums do not.
#[test]
fn lifetimes_survive_the_wrap() {
    let mut courses = Courses::default();
    let mut all: u64 = 0;
    for second in 1..=10 {
        all += 3 << 30;
        let totals = StackTotals {
            free_count: all * COUNT_ONE,
            ..live(1)
        };
        let read = |_| Lifetimes {
            counts: [all as u32; BUCKETS],
        };
        courses.look(f64::from(second), &[(3, OWNER, totals)], [], read, |_| true);
    }
    let read = |_| Lifetimes {
        counts: [all as u32 + 5; BUCKETS],
    };
    let freed = courses.freed(OWNER, [3], read);
    assert!(
        freed.buckets()[4..].iter().all(|count| *count == all + 5),
        "{freed:?}"
    );
}
