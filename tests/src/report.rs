//! One report of any command, the questions that tests ask of it, and what must hold in every one.

use std::ops::Deref;

use anyhow::{Context, Result, anyhow, ensure};
use memlens::profile::{
    HostWide, LossKey, Measure, Profile, Sampling, Severity, Source, Subject, Values,
};
use serde_json::Value;

use crate::row::Row;
use crate::schema;

/// A report: the profile, and the JSON that it was read from.
#[derive(Clone, Debug)]
pub struct Report {
    profile: Profile,
    /// As it was printed.
    pub json: Value,
}

impl Deref for Report {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.profile
    }
}

/// Bytes and blocks that are outstanding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Bytes that the program asked for.
    pub bytes: u64,
    /// Blocks.
    pub blocks: u64,
}

impl Live {
    /// So many bytes in so many blocks.
    pub const fn new(bytes: u64, blocks: u64) -> Self {
        Self { bytes, blocks }
    }

    fn less(self, released: Self) -> Option<Self> {
        let bytes = self.bytes.checked_sub(released.bytes)?;
        Some(Self::new(bytes, self.blocks.checked_sub(released.blocks)?))
    }
}

impl std::iter::Sum for Live {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| {
            Self::new(sum.bytes + part.bytes, sum.blocks + part.blocks)
        })
    }
}

/// What a subject, a sample or a whole report holds of a heap.
pub trait HeapFigures {
    /// The figures.
    fn figures(&self) -> Values;

    /// What is outstanding.
    fn live(&self) -> Live {
        pair(
            &self.figures(),
            Measure::HeapLiveBytes,
            Measure::HeapLiveBlocks,
        )
    }

    /// What was allocated since the start.
    fn allocated(&self) -> Live {
        pair(
            &self.figures(),
            Measure::HeapAllocBytes,
            Measure::HeapAllocBlocks,
        )
    }

    /// What was released of that.
    fn released(&self) -> Live {
        pair(
            &self.figures(),
            Measure::HeapFreeBytes,
            Measure::HeapFreeBlocks,
        )
    }

    /// Allocated less released is outstanding, in bytes and in blocks.
    fn check_balance(&self, whose: &str) -> Result<()> {
        ensure!(
            self.allocated().less(self.released()) == Some(self.live()),
            "{whose} does not balance: {:?}",
            self.figures()
        );
        Ok(())
    }
}

impl HeapFigures for Values {
    fn figures(&self) -> Values {
        self.clone()
    }
}

impl HeapFigures for Subject {
    fn figures(&self) -> Values {
        self.totals.clone()
    }
}

/// Bytes and blocks by their measures.
pub fn pair(values: &Values, bytes: Measure, blocks: Measure) -> Live {
    Live::new(values.amount(bytes), values.amount(blocks))
}

impl Report {
    /// Reads one line, which must be as the schema says, with every counter of the sources at work.
    pub fn parse(line: &str) -> Result<Self> {
        let json: Value =
            serde_json::from_str(line).with_context(|| format!("not JSON: {line:.300}"))?;
        schema::check(&json).map_err(|error| anyhow!("not as the schema says, {error}"))?;
        let profile = Profile::parse(line.as_bytes()).map_err(|error| anyhow!("{error}"))?;
        check_counters(&profile)?;
        Ok(Self { profile, json })
    }

    /// What has a stack of a source, in the order of the report.
    pub fn rows(&self, source: Source) -> Vec<Row<'_>> {
        let samples = self.profile.stack_samples(source);
        samples
            .map(|sample| Row::new(&self.profile, sample))
            .collect()
    }

    /// What stacks hold of the heap, in the order of the report.
    pub fn heap(&self) -> Vec<Row<'_>> {
        self.rows(Source::Heap)
    }

    /// The stack that comes first.
    pub fn first_stack(&self) -> Result<Row<'_>> {
        self.heap().first().copied().context("no stack")
    }

    /// How many stacks hold memory of the heap, shown or not.
    pub fn heap_stacks_total(&self) -> u64 {
        self.stacks_total(Source::Heap, Measure::HeapLiveBytes).0
    }

    /// What the stacks of a process hold of the heap.
    pub fn heap_of(&self, pid: u32) -> Vec<Row<'_>> {
        let mut rows = self.heap();
        rows.retain(|row| row.pid() == Some(pid));
        rows
    }

    /// The subject of a process: that of its present program, or of its last one.
    pub fn process(&self, pid: u32) -> Result<&Subject> {
        let subject = self.profile.process(pid);
        subject.with_context(|| {
            let rows = self.subjects.iter();
            let rows: Vec<_> = rows.map(|row| (row.pid, &row.command)).collect();
            format!(
                "no row for PID {pid}, only {rows:?}; {:?}",
                self.sections.host_wide
            )
        })
    }

    /// Whether a process has a row.
    pub fn has_row(&self, pid: u32) -> bool {
        self.profile.process(pid).is_some()
    }

    /// How the sample of a heap was drawn.
    pub fn sampling(&self) -> Result<Sampling> {
        let section = self.sections.heap.as_ref();
        let sampling = section.and_then(|heap| heap.sampling);
        sampling.context("the report does not say that it is of a sample")
    }

    /// What only a trace of many processes has.
    pub fn host_wide(&self) -> Result<&HostWide> {
        let section = self.sections.host_wide.as_ref();
        section.context("the report has no part about the whole host")
    }

    /// What the stacks hold that have a frame with this function.
    pub fn in_function(&self, name: &str) -> Live {
        self.stacks_with(name).iter().map(HeapFigures::live).sum()
    }

    /// The stacks of the heap that have a frame with this function.
    pub fn stacks_with(&self, name: &str) -> Vec<Row<'_>> {
        let mut rows = self.heap();
        rows.retain(|row| row.has(name));
        rows
    }

    /// Nothing was lost that could change a number, nor anything of its details; no account had to be corrected.
    pub fn check_complete(&self) -> Result<()> {
        let lost: Vec<_> = self
            .losses
            .iter()
            .filter(|(key, count)| *count > 0 && key.severity() != Severity::Coverage)
            .collect();
        ensure!(
            self.complete && lost.is_empty(),
            "the report is not complete ({}), lost: {lost:?}, notes: {:?}",
            self.complete,
            self.notes
        );
        for subject in &self.subjects {
            crate::address_space::check_uncorrected(subject)?;
        }
        Ok(())
    }

    /// Every row of the heap balances, and the stacks add up to the processes and to the totals.
    ///
    /// Holds for a last report with every stack shown; while threads allocate, rows are read one after the other.
    pub fn check_balance(&self) -> Result<()> {
        self.totals().check_balance("the sum of all processes")?;
        for subject in &self.subjects {
            subject.check_balance(&format!("{:?} ({:?})", subject.pid, subject.state))?;
        }
        for (index, row) in self.heap().iter().enumerate() {
            row.check_balance(&format!("stack {index} in {:?}", row.names()))?;
        }
        let of_stacks: Live = self.heap().iter().map(HeapFigures::live).sum();
        ensure!(
            of_stacks == self.totals().live(),
            "the stacks hold {of_stacks:?}, the processes {:?}",
            self.totals().live()
        );
        Ok(())
    }

    /// A complete report that balances, in which this process holds exactly this.
    pub fn check_exact(&self, pid: u32, expected: Live) -> Result<()> {
        let live = self.process(pid)?.live();
        ensure!(
            live == expected,
            "PID {pid} holds {live:?}, expected {expected:?}"
        );
        self.check_complete()?;
        self.check_balance()
    }

    /// The stacks through this function hold exactly this.
    pub fn check_function(&self, name: &str, expected: Live) -> Result<()> {
        let live = self.in_function(name);
        ensure!(
            live == expected,
            "{name} holds {live:?}, expected {expected:?}"
        );
        Ok(())
    }

    /// What this process holds by its row and by its stacks is this; the others may do what they like meanwhile.
    pub fn check_process(&self, pid: u32, expected: Live) -> Result<&Subject> {
        let subject = self.process(pid)?;
        subject.check_balance(&format!("PID {pid}"))?;
        let rows = self.heap_of(pid);
        let of_stacks: Live = rows.iter().map(HeapFigures::live).sum();
        let live = subject.live();
        ensure!(
            live == expected && of_stacks == expected,
            "PID {pid} ({}) holds {live:?}, its stacks {of_stacks:?}, expected {expected:?}: {rows:?}",
            subject.command
        );
        Ok(subject)
    }

    /// What a process holds through a function is this.
    pub fn check_function_of(&self, pid: u32, name: &str, expected: Live) -> Result<()> {
        let rows = self.heap_of(pid);
        let through = rows.iter().filter(|row| row.has(name));
        let live: Live = through.map(HeapFigures::live).sum();
        ensure!(
            live == expected,
            "{name} of PID {pid} holds {live:?}, expected {expected:?}"
        );
        Ok(())
    }

    /// A sentence of the losses or the notes has all these words.
    pub fn check_says(&self, words: &[&str]) -> Result<()> {
        let sentences = self.sentences();
        let says = |sentence: &String| words.iter().all(|word| sentence.contains(word));
        ensure!(
            sentences.iter().any(says),
            "no sentence with {words:?} among {sentences:?}"
        );
        Ok(())
    }

    /// What the report leaves out, in sentences as the text has them: losses, then notes.
    pub fn sentences(&self) -> Vec<String> {
        let lost = memlens::words::loss::sentences(&self.profile)
            .into_iter()
            .map(|lost| lost.text);
        lost.chain(self.notes.iter().cloned()).collect()
    }
}

/// Every counter of the sources at work is there, zeros included.
fn check_counters(profile: &Profile) -> Result<()> {
    let of_programs = [Source::Heap, Source::AddressSpace, Source::PageFaults];
    let is_at_work = |key: &LossKey| match key {
        LossKey::Trace(_) => of_programs.iter().any(|source| profile.has(*source)),
        LossKey::Kernel(_) => profile.has(Source::Kernel),
    };
    for key in LossKey::all().filter(is_at_work) {
        ensure!(
            profile.losses.iter().any(|(told, _)| told == key),
            "the report has no counter {}",
            key.key()
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
