//! Answers that were made a moment ago: what many scrapers ask for is rendered once. Bounded in bytes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Bytes;

/// Bytes that are kept at most; a larger answer is not kept.
const MOST_BYTES: usize = 16 << 20;
/// Answers that are kept at most.
const MOST: usize = 64;
/// How long an answer is good.
const GOOD: Duration = Duration::from_secs(10);

/// The answers that are kept, oldest first.
#[derive(Debug)]
pub struct Cache<K> {
    entries: Mutex<VecDeque<(K, Instant, Bytes)>>,
}

impl<K: PartialEq> Cache<K> {
    /// None yet.
    pub fn new() -> Self {
        Self {
            entries: Mutex::new(VecDeque::new()),
        }
    }

    /// The answer of a key, where there is one that is good.
    pub fn get(&self, key: &K) -> Option<Bytes> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut good = entries.iter().filter(|(_, at, _)| at.elapsed() < GOOD);
        let found = good.find(|(own, ..)| own == key);
        found.map(|(.., bytes)| bytes.clone())
    }

    /// Keeps an answer.
    pub fn keep(&self, key: K, bytes: Bytes) {
        if bytes.len() > MOST_BYTES {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(own, at, _)| *own != key && at.elapsed() < GOOD);
        entries.push_back((key, Instant::now(), bytes));
        let mut sum: usize = entries.iter().map(|(.., bytes)| bytes.len()).sum();
        while sum > MOST_BYTES || entries.len() > MOST {
            let Some((.., oldest)) = entries.pop_front() else {
                return;
            };
            sum -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let cache = Cache::new();
        let large = || Bytes::from(vec![0; MOST_BYTES / 3]);
        for key in 0..5 {
            cache.keep(key, large());
        }
        assert!(cache.get(&1).is_none() && cache.get(&4).is_some());
        cache.keep(9, Bytes::from(vec![0; MOST_BYTES + 1]));
        assert!(cache.get(&9).is_none());
        for key in 10..200 {
            cache.keep(key, Bytes::from_static(b"x"));
        }
        let entries = cache.entries.lock().expect("unlocked");
        assert!(entries.len() <= MOST);
    }
}
