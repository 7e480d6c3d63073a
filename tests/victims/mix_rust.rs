//! Collections, strings, trait objects, closures and sorting on two threads, again and again until there is a line to
//! read.
//!
//! Every round makes the same calls; nothing stays.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

trait Shape {
    fn describe(&self, out: &mut String);
}

struct Dot(Vec<u32>);

struct Group(Vec<Box<dyn Shape>>);

impl Shape for Dot {
    #[inline(never)]
    fn describe(&self, out: &mut String) {
        let numbers: Vec<String> = self.0.iter().map(|number| format!("<{number}>")).collect();
        out.push_str(&numbers.join(", "));
    }
}

impl Shape for Group {
    #[inline(never)]
    fn describe(&self, out: &mut String) {
        for shape in &self.0 {
            let mut inner = String::new();
            shape.describe(&mut inner);
            let _ = write!(out, "({inner})");
        }
    }
}

#[inline(never)]
fn build(depth: u32) -> Box<dyn Shape> {
    if depth == 0 {
        return Box::new(Dot((0..black_box(5)).collect()));
    }
    Box::new(Group(vec![build(depth - 1), build(depth - 1)]))
}

#[inline(never)]
fn count(text: &str) -> usize {
    let mut words: HashMap<String, Vec<usize>> = HashMap::new();
    let mut order: BTreeMap<Rc<str>, String> = BTreeMap::new();
    for (place, word) in text.split(['(', ')', ' ', '<']).enumerate() {
        words.entry(word.to_string()).or_default().push(place);
        order.insert(Rc::from(word), word.repeat(3));
    }
    let mut sorted: Vec<_> = order.into_values().map(|word| (word.len(), word)).collect();
    sorted.sort_by_key(|(length, word)| (std::cmp::Reverse(*length), word.clone()));
    sorted.len() + words.len()
}

#[inline(never)]
fn round() -> usize {
    let mut text = String::new();
    build(black_box(5)).describe(&mut text);
    count(&text)
}

fn work() {
    while !STOP.load(Ordering::Relaxed) {
        black_box(round());
    }
}

fn main() {
    black_box(round());
    let mut line = String::with_capacity(256);
    let mut output = std::io::stdout().lock();
    writeln!(output, "ready {}", std::process::id()).expect("standard output is open");
    output.flush().expect("standard output is open");
    std::io::stdin().lock().read_line(&mut line).expect("standard input is open");
    let other = std::thread::spawn(work);
    let reader = std::thread::spawn(|| {
        let mut line = String::with_capacity(256);
        let _ = std::io::stdin().lock().read_line(&mut line);
        STOP.store(true, Ordering::Relaxed);
    });
    work();
    other.join().expect("it does not panic");
    reader.join().expect("it does not panic");
    output.write_all(b"done\n").expect("standard output is open");
    output.flush().expect("standard output is open");
    std::io::stdin().lock().read_line(&mut line).expect("standard input is open");
}
