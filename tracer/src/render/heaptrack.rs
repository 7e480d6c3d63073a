//! A profile for heaptrack: the text form of `heaptrack_interpret` (heaptrack 1.2 to 1.5, file version 3), which
//! `heaptrack_print` and `heaptrack_gui` open.
//!
//! heaptrack has every call; a profile has sums. So each stack's live bytes are made of blocks of its mean size, at the
//! times of the profile's history: bytes are right at each of these times, and blocks at the last one. Blocks that came
//! and went in between are added at the end, so that calls are counted, up to [`MOST_CALLS`].

use std::collections::HashMap;
use std::io::{self, Write};

use super::path::{self, Step};
use super::{Options, Render};
use crate::profile::{Frame, Measure, Profile, Sample, Source};
use crate::words::clean::clean;
use crate::words::names;

/// Most calls of blocks that have come and gone: a million take some 20 MB.
const MOST_CALLS: u64 = 500_000;
/// Most blocks that stand for what a stack has got between two points.
const MOST_BLOCKS: u64 = 1_000;
/// Most blocks that a stack is given at the end.
const MOST_LIVE: u64 = 20_000;

/// The renderer.
pub struct Heaptrack;

impl Render for Heaptrack {
    fn render(&self, profile: &Profile, _: &Options, out: &mut dyn Write) -> io::Result<()> {
        let samples: Vec<&Sample> = profile.stack_samples(Source::Heap).collect();
        let calls: u64 = samples.iter().map(|sample| gone(profile, sample)).sum();
        let share = calls.div_ceil(MOST_CALLS).max(1);
        writeln!(out, "v 10400 3")?;
        writeln!(out, "X memlens: {}", command(profile, share))?;
        writeln!(out, "I 1000 0")?;
        let mut tables = Tables::default();
        let mut stacks = Vec::new();
        for sample in samples {
            let trace = tables.trace(profile, sample, out)?;
            stacks.push(Stack::new(profile, sample, trace));
        }
        let at = profile
            .sections
            .history
            .as_ref()
            .map_or(&[][..], |history| &history.at);
        for (point, at) in at.iter().enumerate() {
            writeln!(out, "c {:x}", at.as_millis())?;
            for stack in &mut stacks {
                let live = stack.sample.history.get(point).copied().flatten();
                stack.move_to(live.unwrap_or(0), &mut tables, out)?;
            }
        }
        for stack in &mut stacks {
            let calls = gone(profile, stack.sample).saturating_sub(stack.made);
            stack.come_and_go(calls / share, &mut tables, out)?;
            stack.end(profile, &mut tables, out)?;
        }
        writeln!(out, "c {:x}", profile.meta.elapsed.as_millis())
    }
}

/// Whose memory it is, and what heaptrack's columns are of.
fn command(profile: &Profile, share: u64) -> String {
    let calls = match share {
        1 => String::new(),
        share => format!(", of released blocks one in {share}"),
    };
    let subject = names::subject(profile);
    let text = format!("{subject}; sizes are the mean of each stack{calls}");
    clean(&text).replace('\n', " ")
}

/// Blocks of a stack that have come and gone.
fn gone(profile: &Profile, sample: &Sample) -> u64 {
    let all = profile.amount(sample, Measure::HeapAllocBlocks);
    all.saturating_sub(profile.amount(sample, Measure::HeapLiveBlocks))
}

/// Strings, addresses, traces and allocations that were written; numbers begin with 1, those of allocations with 0.
#[derive(Default)]
struct Tables {
    strings: HashMap<String, usize>,
    places: HashMap<Vec<u32>, usize>,
    words: HashMap<String, usize>,
    traces: HashMap<(usize, usize), usize>,
    allocations: HashMap<(u64, usize), usize>,
    addresses: usize,
}

impl Tables {
    fn string(&mut self, text: &str, out: &mut dyn Write) -> io::Result<usize> {
        if let Some(known) = self.strings.get(text) {
            return Ok(*known);
        }
        let shown = text.replace('\n', "?");
        writeln!(out, "s {:x} {shown}", shown.len())?;
        let number = self.strings.len() + 1;
        self.strings.insert(text.to_owned(), number);
        Ok(number)
    }

    /// The trace of a sample: its innermost frame, whose parent is its caller.
    fn trace(
        &mut self,
        profile: &Profile,
        sample: &Sample,
        out: &mut dyn Write,
    ) -> io::Result<usize> {
        let mut trace = 0;
        // Inlined functions stand within the function that holds them, at one address.
        let mut at_address: Vec<u32> = Vec::new();
        for step in path::steps(profile, sample) {
            let Step::Frame(index) = step else {
                let word = step.word().unwrap_or_default().into_owned();
                let address = self.word(&word, out)?;
                trace = self.node(address, trace, out)?;
                continue;
            };
            if !profile.frames[index as usize].inlined && !at_address.is_empty() {
                let address = self.address(profile, std::mem::take(&mut at_address), out)?;
                trace = self.node(address, trace, out)?;
            }
            at_address.push(index);
        }
        if !at_address.is_empty() {
            let address = self.address(profile, at_address, out)?;
            trace = self.node(address, trace, out)?;
        }
        Ok(trace)
    }

    fn node(&mut self, address: usize, parent: usize, out: &mut dyn Write) -> io::Result<usize> {
        if let Some(known) = self.traces.get(&(address, parent)) {
            return Ok(*known);
        }
        writeln!(out, "t {address:x} {parent:x}")?;
        let number = self.traces.len() + 1;
        self.traces.insert((address, parent), number);
        Ok(number)
    }

    /// An address with its functions, given outermost first.
    fn address(
        &mut self,
        profile: &Profile,
        frames: Vec<u32>,
        out: &mut dyn Write,
    ) -> io::Result<usize> {
        if let Some(known) = self.places.get(&frames) {
            return Ok(*known);
        }
        let known = frames
            .iter()
            .filter_map(|frame| profile.frames.get(*frame as usize));
        let known: Vec<&Frame> = known.collect();
        let module = known.first().and_then(|frame| profile.module(frame));
        let module = match module {
            Some(module) => self.string(&module.path, out)?,
            None => 0,
        };
        let mut line = format!(
            "i {:x} {module:x}",
            known.first().map_or(0, |frame| frame.address)
        );
        for frame in known.iter().rev() {
            let function = self.string(&names::frame(profile, frame), out)?;
            let file = match frame.file.as_deref() {
                Some(file) => self.string(file, out)?,
                None => 0,
            };
            line += &format!(" {function:x} {file:x} {:x}", frame.line.unwrap_or(0));
        }
        writeln!(out, "{line}")?;
        self.addresses += 1;
        self.places.insert(frames, self.addresses);
        Ok(self.addresses)
    }

    /// An address that is no code.
    fn word(&mut self, word: &str, out: &mut dyn Write) -> io::Result<usize> {
        if let Some(known) = self.words.get(word) {
            return Ok(*known);
        }
        let name = self.string(word, out)?;
        writeln!(out, "i 0 0 {name:x} 0 0")?;
        self.addresses += 1;
        self.words.insert(word.to_owned(), self.addresses);
        Ok(self.addresses)
    }

    /// An allocation of a size by a trace.
    fn allocation(&mut self, size: u64, trace: usize, out: &mut dyn Write) -> io::Result<usize> {
        if let Some(known) = self.allocations.get(&(size, trace)) {
            return Ok(*known);
        }
        writeln!(out, "a {size:x} {trace:x}")?;
        let number = self.allocations.len();
        self.allocations.insert((size, trace), number);
        Ok(number)
    }
}

/// What stands for the blocks of one stack.
struct Stack<'a> {
    sample: &'a Sample,
    trace: usize,
    /// Mean size of its blocks.
    mean: u64,
    /// Sizes of the blocks that live.
    live: Vec<u64>,
    bytes: u64,
    /// Blocks that were written so far.
    made: u64,
}

impl<'a> Stack<'a> {
    fn new(profile: &Profile, sample: &'a Sample, trace: usize) -> Self {
        let amount = |measure| profile.amount(sample, measure);
        let mean = amount(Measure::HeapAllocBytes).checked_div(amount(Measure::HeapAllocBlocks));
        Self {
            sample,
            trace,
            mean: mean.unwrap_or(1).max(1),
            live: Vec::new(),
            bytes: 0,
            made: 0,
        }
    }

    /// So many bytes live now.
    fn move_to(&mut self, bytes: i64, tables: &mut Tables, out: &mut dyn Write) -> io::Result<()> {
        let wanted = bytes.max(0).cast_unsigned();
        while self.bytes > wanted {
            let size = self.live.pop().unwrap_or(self.bytes);
            self.bytes -= size.min(self.bytes);
            let allocation = tables.allocation(size, self.trace, out)?;
            writeln!(out, "- {allocation:x}")?;
        }
        let more = wanted - self.bytes;
        let blocks = (more / self.mean).clamp(1, MOST_BLOCKS);
        self.add(more, blocks, tables, out)
    }

    /// So many bytes more, in so many blocks.
    fn add(
        &mut self,
        bytes: u64,
        blocks: u64,
        tables: &mut Tables,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if bytes == 0 || blocks == 0 {
            return Ok(());
        }
        let size = bytes / blocks;
        for block in 0..blocks {
            let size = if block + 1 == blocks {
                bytes - size * (blocks - 1)
            } else {
                size
            };
            if size == 0 {
                continue;
            }
            let allocation = tables.allocation(size, self.trace, out)?;
            writeln!(out, "+ {allocation:x}")?;
            self.live.push(size);
            self.bytes += size;
            self.made += 1;
        }
        Ok(())
    }

    /// Blocks that nothing else shows.
    fn come_and_go(
        &mut self,
        calls: u64,
        tables: &mut Tables,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let allocation = tables.allocation(self.mean, self.trace, out)?;
        (0..calls).try_for_each(|_| writeln!(out, "+ {allocation:x}\n- {allocation:x}"))
    }

    /// The bytes and blocks of the profile.
    fn end(
        &mut self,
        profile: &Profile,
        tables: &mut Tables,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let amount = |measure| profile.amount(self.sample, measure);
        let (bytes, blocks) = (
            amount(Measure::HeapLiveBytes),
            amount(Measure::HeapLiveBlocks),
        );
        if (self.bytes, self.live.len() as u64) == (bytes, blocks) {
            return Ok(());
        }
        self.move_to(0, tables, out)?;
        self.add(bytes, blocks.clamp(1, MOST_LIVE), tables, out)
    }
}
