//! Pointers that the kernel keeps for a process: what epoll and timers give back to it.

use std::fs;

use crate::reach::graph::Rank;
use crate::reach::judge::Word;

/// Bit of a place that stands for a timer; others are descriptors.
const TIMER: u64 = 1 << 32;

/// All that can be read of them.
pub fn words(pid: u32) -> Vec<Word> {
    let timers = fs::read_to_string(format!("/proc/{pid}/timers")).unwrap_or_default();
    let timers = timers_in(&timers).map(|(id, value)| (TIMER | id, value));
    let word = |(place, value)| Word {
        rank: Rank::Kernel,
        place,
        value,
    };
    timers.chain(events(pid)).map(word).collect()
}

/// What a place stands for, in words.
pub fn name(place: u64) -> String {
    match place & TIMER {
        0 => format!("epoll data of descriptor {place}"),
        _ => format!("value of timer {}", place & !TIMER),
    }
}

/// What epoll gives back, with the descriptor of the epoll instance.
fn events(pid: u32) -> Vec<(u64, u64)> {
    let mut events = Vec::new();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    for descriptor in descriptors.into_iter().flatten().filter_map(Result::ok) {
        let is_epoll = fs::read_link(descriptor.path())
            .is_ok_and(|link| link.as_os_str() == "anon_inode:[eventpoll]");
        let number = descriptor.file_name();
        let Some(number) = number.to_str().filter(|_| is_epoll) else {
            continue;
        };
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"));
        let text = text.unwrap_or_default();
        let number = number.parse().unwrap_or(0);
        events.extend(data_in(&text).map(|data| (number, data)));
    }
    events
}

/// The data of each event in the text of an epoll instance: `tfd: 5 events: 19 data: 55d0c0ffee00 pos:0 ...`
/// (fs/eventpoll.c, ep_show_fdinfo).
fn data_in(text: &str) -> impl Iterator<Item = u64> {
    text.lines().filter_map(|line| {
        let (_, after) = line.strip_prefix("tfd:")?.split_once("data:")?;
        let word = after.split_whitespace().next()?;
        u64::from_str_radix(word, 16).ok()
    })
}

/// Number and value of each timer: `ID: 0`, `signal: 10/00007ffe1234` (fs/proc/base.c, show_timer).
fn timers_in(text: &str) -> impl Iterator<Item = (u64, u64)> {
    let mut id = 0;
    text.lines().filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        if key == "ID" {
            id = value.trim().parse().unwrap_or(0);
        }
        let (_, value) = value.split_once('/').filter(|_| key == "signal")?;
        Some((id, u64::from_str_radix(value.trim(), 16).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_events() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1058\n\
                    tfd:        5 events:       19 data:     55d0c0ffee00  pos:0 ino:1058 sdev:f\n\
                    tfd:        6 events:       19 data: ffffffffffffffff  pos:0 ino:1058 sdev:f\n";
        let data: Vec<u64> = data_in(text).collect();
        assert_eq!(data, [0x55d0_c0ff_ee00, u64::MAX]);
    }

    #[test]
    fn values_of_timers() {
        let text = "ID: 0\nsignal: 60/00007ffe12345678\nnotify: signal/pid.4711\nClockID: 1\n\
                    ID: 7\nsignal: 10/0000000000000000\nnotify: none/tid.4711\nClockID: 0\n";
        let timers: Vec<_> = timers_in(text).collect();
        assert_eq!(timers, [(0, 0x7ffe_1234_5678), (7, 0)]);
        assert_eq!(name(TIMER | 7), "value of timer 7");
        assert_eq!(name(5), "epoll data of descriptor 5");
    }
}
