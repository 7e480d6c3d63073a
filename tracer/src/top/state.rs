//! The state of the view: where one is, what is selected, what was taken in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::baseline::Baseline;
use super::data::{Data, Tab, TraceId};
use super::list::List;
use super::rows::{self, Key, Row, Sort};
use super::stacks::{self, Shown, StackRow, StackSort};
use crate::profile::machine::By;
use crate::profile::{FindingKind, Profile, Source};

mod act;
mod parts;
#[cfg(test)]
mod tests;

use self::parts::Selected;
pub use self::parts::{Effect, Mode, Phase, Place, Rows, Settings, Traced};

/// The view.
pub struct App {
    /// What does not change.
    pub settings: Settings,
    data: Data,
    /// What is shown while the screen stands still.
    frozen: Option<Box<Data>>,
    /// What is looked at.
    pub tab: Tab,
    /// Where one is.
    pub place: Place,
    /// Where one came from, and what was selected there.
    parents: Vec<(Place, Option<Selected>)>,
    /// What became of each trace.
    pub phases: BTreeMap<TraceId, Phase>,
    /// The rows of the list.
    pub rows: Rows,
    /// The list.
    pub list: List,
    /// The row that stays selected; `None` stays at the top.
    followed: Option<Selected>,
    /// Order of processes, and whether it is reversed.
    pub sort: (Sort, bool),
    /// Order of stacks, and whether it is reversed.
    pub stack_sort: (StackSort, bool),
    filter: String,
    stack_filter: String,
    /// The moment that growth is shown since.
    pub baseline: Option<Baseline>,
    /// Least age of the blocks of stacks.
    pub older: Duration,
    /// What keys are for.
    pub mode: Mode,
    /// What was said last.
    pub message: Option<String>,
    /// Whether keys scroll the details of a stack.
    pub is_in_details: bool,
    /// First line of the details that is shown.
    pub details_from: usize,
    /// First line of the screen that has a row of the list.
    pub list_top: u16,
}

impl App {
    /// A view that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        let phases = settings.target.iter();
        Self {
            phases: phases.map(|_| (TraceId::Target, Phase::Starting)).collect(),
            older: settings.older,
            settings,
            data: Data::default(),
            frozen: None,
            tab: Tab::default(),
            place: Place::default(),
            parents: Vec::new(),
            rows: Rows::Processes(Vec::new()),
            list: List::default(),
            followed: None,
            sort: Default::default(),
            stack_sort: Default::default(),
            filter: String::new(),
            stack_filter: String::new(),
            baseline: None,
            mode: Mode::default(),
            message: None,
            is_in_details: false,
            details_from: 0,
            list_top: 0,
        }
    }

    /// What is shown: what was taken in last, or before the screen was held.
    pub fn shown(&self) -> &Data {
        self.frozen.as_deref().unwrap_or(&self.data)
    }

    /// Whether the screen stands still.
    pub fn is_held(&self) -> bool {
        self.frozen.is_some()
    }

    /// The last profile of a trace, shown or not.
    pub fn last(&self, id: TraceId) -> Option<&Arc<Profile>> {
        self.data.traces.get(&id)
    }

    /// Takes in a profile of the machine, and the resident memory of memlens itself.
    pub fn take_machine(&mut self, profile: Profile, own_rss: Option<u64>) {
        self.data.take_machine(Arc::new(profile), own_rss);
        self.changed();
    }

    /// Takes in what a trace tells.
    pub fn take_trace(&mut self, id: TraceId, told: Traced) {
        match told {
            Traced::Profile(profile) => {
                // One that was left may have told it before it heard of that.
                if let Some(phase) = self.phases.get_mut(&id) {
                    *phase = Phase::Running;
                    self.data.traces.insert(id, profile);
                }
            }
            Traced::Ended => {
                if let Some(phase) = self.phases.get_mut(&id) {
                    *phase = Phase::Ended;
                    self.say(ended(id));
                }
            }
            Traced::Note(sentence) => self.say(sentence),
            Traced::Failed(why) => self.failed(id, why),
        }
        self.changed();
    }

    fn failed(&mut self, id: TraceId, why: String) {
        if !self.phases.contains_key(&id) {
            return;
        }
        self.say(why.clone());
        match id {
            TraceId::Process(pid) => {
                self.phases.remove(&id);
                self.data.traces.remove(&id);
                if self.place == Place::Process(pid) {
                    self.leave_place();
                }
            }
            TraceId::Target | TraceId::Kernel => {
                self.phases.insert(id, Phase::Failed(why));
            }
        }
    }

    /// Says something in the last line, until the next key.
    pub fn say(&mut self, line: impl Into<String>) {
        self.message = Some(line.into());
    }

    /// The trace of the process that is looked at, or of the kernel.
    pub fn trace(&self) -> Option<TraceId> {
        match (self.tab, &self.place) {
            (Tab::Kernel, _) => Some(TraceId::Kernel),
            (_, Place::Process(pid)) => self.trace_of(*pid),
            _ => None,
        }
    }

    /// The trace that a process is in, or will be.
    fn trace_of(&self, pid: u32) -> Option<TraceId> {
        let own = TraceId::Process(pid);
        let target = self.data.traces.get(&TraceId::Target);
        let is_target = target.map_or_else(
            || self.settings.target_pids.contains(&pid),
            |profile| profile.process(pid).is_some(),
        );
        let is_own = self.phases.contains_key(&own);
        match is_own {
            true => Some(own),
            false => is_target.then_some(TraceId::Target),
        }
    }

    /// The profile that the stacks are of, and the index of their subject.
    pub fn profile(&self) -> Option<(&Arc<Profile>, Option<u32>)> {
        match (self.tab, &self.place) {
            (Tab::Kernel, _) => Some((self.shown().kernel()?, None)),
            (_, Place::Process(pid)) => {
                let (profile, index) = self.shown().traced(*pid)?;
                Some((profile, Some(index)))
            }
            _ => None,
        }
    }

    /// The selected stack, with its profile.
    pub fn stack(&self) -> Option<(&Arc<Profile>, &StackRow)> {
        let (profile, _) = self.profile()?;
        match &self.rows {
            Rows::Stacks(rows) => Some((profile, rows.get(self.list.selected())?)),
            Rows::Processes(_) => None,
        }
    }

    /// Whether the list is one of stacks.
    pub fn has_stacks(&self) -> bool {
        self.tab == Tab::Kernel || matches!(self.place, Place::Process(_))
    }

    /// What rows must have in them.
    pub fn filter(&self) -> &str {
        match self.has_stacks() {
            true => &self.stack_filter,
            false => &self.filter,
        }
    }

    fn filter_mut(&mut self) -> &mut String {
        match self.has_stacks() {
            true => &mut self.stack_filter,
            false => &mut self.filter,
        }
    }

    /// What is seen, as a profile: the processes of the table, or the stacks of the list.
    pub fn seen(&self) -> Option<Profile> {
        match &self.rows {
            Rows::Processes(rows) => {
                let mut profile = Profile::clone(self.shown().machine.as_ref()?);
                let order = |pid: Option<u32>| {
                    let key = Key::Process(pid?);
                    rows.iter().position(|row| row.key == key)
                };
                profile.subjects.retain(|own| order(own.pid).is_some());
                profile.subjects.sort_by_key(|own| order(own.pid));
                // They speak of subjects by their places.
                profile
                    .findings
                    .retain(|own| own.kind == FindingKind::Outlook);
                Some(profile)
            }
            Rows::Stacks(_) => {
                let (profile, subject) = self.profile()?;
                let filter = self.stack_filter.to_lowercase();
                let shown = self.list_of(subject, &filter);
                let mut seen = profile.filter(|sample| shown.has(profile, sample));
                seen.omitted.clear();
                Some(seen)
            }
        }
    }

    /// The source that is looked at, where that has stacks.
    pub fn source(&self) -> Source {
        match self.has_stacks() {
            true => self.tab.source(),
            false => Source::Process,
        }
    }

    fn list_of<'a>(&self, subject: Option<u32>, filter: &'a str) -> Shown<'a> {
        Shown {
            tab: self.tab,
            subject,
            filter,
            sort: self.stack_sort.0,
            is_reversed: self.stack_sort.1,
        }
    }

    /// New figures are there.
    fn changed(&mut self) {
        if !self.is_held() {
            self.refresh();
        }
    }

    /// Makes the rows anew, and keeps the selected one.
    fn refresh(&mut self) {
        self.rows = match self.has_stacks() {
            true => Rows::Stacks(self.stack_rows()),
            false => Rows::Processes(self.process_rows()),
        };
        let followed = self.followed.as_ref().and_then(|own| self.index_of(own));
        let selected = match self.followed {
            None => Some(0),
            Some(_) => followed,
        };
        self.list.refresh(self.rows.len(), selected);
    }

    fn process_rows(&self) -> Vec<Row> {
        let (by, group) = match &self.place {
            Place::Group(name) => (By::Process, Some(name)),
            _ => (self.settings.by, None),
        };
        let filter = self.filter.to_lowercase();
        let mut rows = rows::all(self.shown(), self.tab, by);
        rows.retain(|row| {
            group.is_none_or(|name| rows::group_of(row, self.settings.by) == *name)
                && (filter.is_empty() || rows::matches(row, &filter))
        });
        let (sort, is_reversed) = self.sort;
        let grown = |row: &Row| {
            use super::baseline::Since;
            let since = self.since(row)?;
            Some(match since {
                Since::Bytes(bytes) => bytes,
                Since::New => i64::try_from(row.followed.1).unwrap_or(i64::MAX),
                Since::Unknown => 0,
            })
        };
        rows::sort(&mut rows, sort, is_reversed, grown);
        rows
    }

    /// What the table has of a process.
    pub fn row_of(&self, pid: u32) -> Option<Row> {
        let row = rows::of_process(self.shown(), self.tab, pid);
        row.is_traced.then_some(row)
    }

    /// How much a row has grown since the baseline.
    pub fn since(&self, row: &Row) -> Option<super::baseline::Since> {
        let baseline = self.baseline.as_ref()?;
        Some(baseline.row(&row.key, self.tab, row.followed))
    }

    fn stack_rows(&self) -> Vec<StackRow> {
        let Some((profile, subject)) = self.profile() else {
            return Vec::new();
        };
        let filter = self.stack_filter.to_lowercase();
        let shown = self.list_of(subject, &filter);
        let id = self.trace().unwrap_or(TraceId::Kernel);
        stacks::rows(profile, &shown, |stack, bytes| {
            let baseline = self.baseline.as_ref()?;
            Some(baseline.stack(id, self.tab, stack, bytes))
        })
    }

    fn index_of(&self, selected: &Selected) -> Option<usize> {
        match (&self.rows, selected) {
            (Rows::Processes(rows), Selected::Row(key)) => {
                rows.iter().position(|row| row.key == *key)
            }
            (Rows::Stacks(rows), Selected::Stack(stack)) => {
                rows.iter().position(|row| row.identity == *stack)
            }
            _ => None,
        }
    }

    /// What the selected row is known by.
    fn selected(&self) -> Option<Selected> {
        let index = self.list.selected();
        match &self.rows {
            Rows::Processes(rows) => rows.get(index).map(|row| Selected::Row(row.key.clone())),
            Rows::Stacks(rows) => rows.get(index).map(|row| Selected::Stack(row.identity)),
        }
    }
}

/// That what was traced has ended, in words.
fn ended(id: TraceId) -> String {
    match id {
        TraceId::Target => "what was traced has ended; its last figures stay".to_owned(),
        TraceId::Process(pid) => format!("process {pid} has ended; its last figures stay"),
        TraceId::Kernel => "the trace of the kernel has ended; its last figures stay".to_owned(),
    }
}
