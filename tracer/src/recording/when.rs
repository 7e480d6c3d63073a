//! Moments as a person names them: "10m", "14:05", "2026-11-29 14:05", "2026-11-29T14:05:00Z".

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::Moment;

/// A moment of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// The last one.
    #[default]
    End,
    /// So long after the trace began; of several sessions, the last one.
    Elapsed(Duration),
    /// At this time.
    At(Timestamp),
    /// At this local time.
    Local(DateTime),
    /// At this local time of the day, the last time that it was that late.
    OfDay(Time),
}

impl When {
    /// Reads a time of the day, a date with a time, or RFC 3339; `None` for anything else.
    pub fn parse_clock(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(Self::At(time));
        }
        let has_date = text.contains('-');
        match (has_date, text.contains(':')) {
            (true, true) => text.parse().ok().map(Self::Local),
            (false, true) => text.parse().ok().map(Self::OfDay),
            _ => None,
        }
    }

    /// Place of the last of some moments, which are in order, that is not after this one.
    pub fn find(self, moments: &[&Moment], zone: &TimeZone) -> Option<usize> {
        let last = moments.last()?;
        let time = match self {
            Self::End => return Some(moments.len() - 1),
            Self::Elapsed(elapsed) => {
                let is_before =
                    |moment: &&Moment| moment.session == last.session && moment.elapsed <= elapsed;
                return moments.iter().rposition(is_before);
            }
            Self::At(time) => time,
            Self::Local(local) => zone.to_timestamp(local).ok()?,
            Self::OfDay(time) => {
                let end = last.time.to_zoned(zone.clone());
                let today = zone.to_timestamp(end.date().to_datetime(time)).ok()?;
                match today <= last.time {
                    true => today,
                    false => {
                        let yesterday = end.date().checked_sub(1.day()).ok()?;
                        zone.to_timestamp(yesterday.to_datetime(time)).ok()?
                    }
                }
            }
        };
        moments.iter().rposition(|moment| moment.time <= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Vec<Moment> {
        let begin: Timestamp = "2026-11-29T10:00:00Z".parse().expect("a time");
        let moment = |minute: i64, session| Moment {
            track: "heap".into(),
            session,
            time: begin + minute.minutes(),
            elapsed: Duration::from_secs(60 * minute.unsigned_abs()),
        };
        // A second session begins after ten minutes.
        let mut moments: Vec<Moment> = (1..=3).map(|minute| moment(minute, 0)).collect();
        moments.extend((1..=3).map(|minute| Moment {
            time: begin + (10 + minute).minutes(),
            ..moment(minute, 1)
        }));
        moments
    }

    #[test]
    fn moments_are_found_by_what_is_not_after_them() {
        let moments = moments();
        let moments: Vec<&Moment> = moments.iter().collect();
        let find = |when: When| when.find(&moments, &TimeZone::UTC);
        assert_eq!(find(When::End), Some(5));
        assert_eq!(find(When::Elapsed(Duration::from_secs(150))), Some(4));
        assert_eq!(find(When::Elapsed(Duration::from_secs(59))), None);
        let clock = |text: &str| find(When::parse_clock(text).expect(text));
        assert_eq!(clock("10:02:30"), Some(1));
        assert_eq!(clock("10:11"), Some(3));
        assert_eq!(clock("2026-11-29 10:05"), Some(2));
        assert_eq!(clock("2026-11-29T10:12:00Z"), Some(4));
        assert_eq!(clock("23:59"), None, "that was a day before");
        assert_eq!(clock("2026-11-29T09:00:00Z"), None);
        for text in ["10m", "soon", "10", "25:00", "2026-11-29"] {
            assert_eq!(When::parse_clock(text), None, "{text}");
        }
    }
}
