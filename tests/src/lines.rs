//! Lines of a child's output, with a limit on every wait, and a copy of all for the record.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::patience::patient;

/// What is kept of one stream in the record shown when a test fails.
const SHOWN: usize = 12_000;

/// One output stream of a child.
#[derive(Debug)]
pub struct Lines {
    received: Receiver<String>,
    all: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// Why no line came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLine {
    /// The stream is at its end.
    Ended,
    /// Nothing came in time.
    TimedOut,
}

impl Lines {
    /// Reads a stream on a thread of its own until it ends.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let (send, received) = channel();
        let all = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&all);
        let reader = std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|read| read > 0)
            {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_string();
                bytes.clear();
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line.clone());
                // Nobody may be listening any more; the copy is kept all the same.
                let _ = send.send(line);
            }
        });
        Self {
            received,
            all,
            reader: Some(reader),
        }
    }

    /// The next line, if one comes within the limit.
    pub fn next(&self, limit: Duration) -> Result<String, NoLine> {
        self.received
            .recv_timeout(patient(limit))
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => NoLine::TimedOut,
                RecvTimeoutError::Disconnected => NoLine::Ended,
            })
    }

    /// All lines so far, taken or not.
    pub fn all(&self) -> Vec<String> {
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until the stream has ended. Call only once every writer of it is gone.
    pub fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A reader that panicked has left what it read before.
            let _ = reader.join();
        }
    }

    /// All lines as one text, cut in the middle where it is very long.
    pub fn shown(&self) -> String {
        let text = self.all().join("\n");
        if text.len() <= SHOWN {
            return text;
        }
        let head = text.floor_char_boundary(SHOWN / 2);
        let tail = text.ceil_char_boundary(text.len() - SHOWN / 2);
        format!(
            "{}\n[... {} bytes ...]\n{}",
            &text[..head],
            tail - head,
            &text[tail..]
        )
    }
}
