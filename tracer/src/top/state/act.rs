//! What keys, the mouse and typed lines do to the view.

use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::{Event, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};

use super::{App, Effect, Mode, Phase, Place, Rows};
use crate::cli::{BareUnit, parse_time};
use crate::top::baseline::Baseline;
use crate::top::data::{Tab, TraceId};
use crate::top::keys::{Action, action_of};
use crate::top::line_edit::{Edited, LineEdit};
use crate::top::rows::Key;
use crate::words::units::duration;

/// Rows of one notch of the wheel.
const WHEEL: isize = 3;

impl App {
    /// Takes in an event of the terminal.
    pub fn event(&mut self, event: &Event) -> Vec<Effect> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            Event::Mouse(mouse) => self.mouse(*mouse),
            Event::Resize(..) => vec![Effect::Redraw],
            _ => Vec::new(),
        }
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        match std::mem::take(&mut self.mode) {
            Mode::Keys => {
                let action = action_of(&key);
                if action.is_some() {
                    self.message = None;
                }
                action.map_or_else(Vec::new, |action| self.act(action))
            }
            Mode::Help(from) => self.key_in_help(key, from),
            Mode::Filter(line, before) => self.key_in_filter(key, line, before),
            Mode::Older(line) => self.key_in_prompt(key, line, Mode::Older, Self::set_older),
            Mode::Export(line) => {
                self.key_in_prompt(key, line, Mode::Export, |_, text| match text.is_empty() {
                    true => Vec::new(),
                    false => vec![Effect::Export(PathBuf::from(text))],
                })
            }
        }
    }

    /// Arrows scroll the help, keys that end something do that, all others close it.
    fn key_in_help(&mut self, key: KeyEvent, from: usize) -> Vec<Effect> {
        let from = match action_of(&key) {
            Some(Action::Up) => from.saturating_sub(1),
            Some(Action::Down) => from.saturating_add(1),
            Some(Action::PageUp | Action::First) => 0,
            Some(Action::PageDown | Action::Last) => usize::MAX,
            Some(action @ (Action::Interrupt | Action::Suspend)) => return self.act(action),
            _ => return Vec::new(),
        };
        self.mode = Mode::Help(from);
        Vec::new()
    }

    /// A filter holds while it is typed.
    fn key_in_filter(&mut self, key: KeyEvent, mut line: LineEdit, before: String) -> Vec<Effect> {
        match line.key(key) {
            Edited::Changed => {
                *self.filter_mut() = line.text();
                self.mode = Mode::Filter(line, before);
            }
            Edited::Done => {}
            Edited::Cancelled => *self.filter_mut() = before,
        }
        self.refresh();
        Vec::new()
    }

    fn key_in_prompt(
        &mut self,
        key: KeyEvent,
        mut line: LineEdit,
        mode: fn(LineEdit) -> Mode,
        done: fn(&mut Self, &str) -> Vec<Effect>,
    ) -> Vec<Effect> {
        match line.key(key) {
            Edited::Changed => self.mode = mode(line),
            Edited::Done => return done(self, line.text().trim()),
            Edited::Cancelled => {}
        }
        Vec::new()
    }

    fn set_older(&mut self, text: &str) -> Vec<Effect> {
        let parsed = match text.is_empty() {
            true => Ok(Duration::ZERO),
            false => parse_time(text, BareUnit::Seconds),
        };
        match parsed {
            Ok(older) => {
                self.older = older;
                self.say(match older.is_zero() {
                    true => "stacks count blocks of every age, from the next report on".to_owned(),
                    false => {
                        let age = duration(older);
                        format!("stacks count blocks older than {age}, from the next report on")
                    }
                });
                vec![Effect::Older(older)]
            }
            Err(error) => {
                self.say(format!("{text}: {error}"));
                Vec::new()
            }
        }
    }

    fn mouse(&mut self, mouse: MouseEvent) -> Vec<Effect> {
        if self.mode != Mode::Keys {
            return Vec::new();
        }
        match mouse.kind {
            MouseEventKind::ScrollDown => self.step(WHEEL),
            MouseEventKind::ScrollUp => self.step(-WHEEL),
            MouseEventKind::Down(MouseButton::Left) => return self.click(mouse.row),
            _ => {}
        }
        Vec::new()
    }

    /// Selects the row at a line of the screen; one that is selected is opened.
    fn click(&mut self, line: u16) -> Vec<Effect> {
        let Some(line) = line.checked_sub(self.list_top) else {
            return Vec::new();
        };
        let (line, offset) = (usize::from(line), self.list.offset());
        let index = offset + line;
        if line >= self.list.height() || index >= self.list.len() {
            return Vec::new();
        }
        self.is_in_details = false;
        if index == self.list.selected() && self.followed.is_some() {
            return self.open();
        }
        self.select(index);
        Vec::new()
    }

    fn select(&mut self, index: usize) {
        self.list.select(index);
        self.followed = self.selected();
        self.details_from = 0;
    }

    /// Moves by rows of the list, or by lines of the details.
    fn step(&mut self, by: isize) {
        if self.is_in_details {
            self.details_from = self.details_from.saturating_add_signed(by);
        } else {
            self.select(self.list.selected().saturating_add_signed(by));
        }
    }

    /// Does what an action asks for.
    pub fn act(&mut self, action: Action) -> Vec<Effect> {
        let page = self.list.page();
        match action {
            Action::Up => self.step(-1),
            Action::Down => self.step(1),
            Action::PageUp => self.step(-page),
            Action::PageDown => self.step(page),
            Action::First if self.is_in_details => self.details_from = 0,
            Action::First => {
                self.select(0);
                // At the top one stays at the top.
                self.followed = None;
            }
            Action::Last if self.is_in_details => self.details_from = usize::MAX,
            Action::Last => self.select(usize::MAX),
            Action::Open => return self.open(),
            Action::Back => return self.back(),
            Action::ToDetails => self.is_in_details = self.stack().is_some(),
            Action::ToList => self.is_in_details = false,
            Action::NextTab => return self.go_to(self.tab.step(1)),
            Action::PreviousTab => return self.go_to(self.tab.step(2)),
            Action::Sort | Action::Reverse => self.sort_by(action),
            Action::Filter => {
                let before = self.filter().to_owned();
                self.mode = Mode::Filter(LineEdit::new(&before), before);
            }
            Action::Pause => self.hold_or_go_on(),
            Action::Baseline => {
                self.baseline = Some(Baseline::of(self.shown(), self.settings.by));
                self.refresh();
            }
            Action::ClearBaseline => {
                self.baseline = None;
                self.refresh();
            }
            Action::Older => self.mode = Mode::Older(LineEdit::default()),
            Action::Export => self.mode = Mode::Export(LineEdit::default()),
            Action::Help => self.mode = Mode::Help(0),
            Action::Leave => return vec![Effect::Leave(false)],
            Action::Interrupt => return vec![Effect::Leave(true)],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Redraw => return vec![Effect::Redraw],
        }
        Vec::new()
    }

    fn sort_by(&mut self, action: Action) {
        match (self.has_stacks(), action) {
            (true, Action::Sort) => self.stack_sort = (self.stack_sort.0.next(), false),
            (true, _) => self.stack_sort.1 = !self.stack_sort.1,
            (false, Action::Sort) => self.sort = (self.sort.0.next(), false),
            (false, _) => self.sort.1 = !self.sort.1,
        }
        self.refresh();
    }

    fn hold_or_go_on(&mut self) {
        self.frozen = match self.frozen.take() {
            Some(_) => None,
            None => Some(Box::new(self.data.clone())),
        };
        self.refresh();
    }

    /// Goes to a tab. The kernel is traced from the first time that its tab is seen.
    fn go_to(&mut self, tab: Tab) -> Vec<Effect> {
        let stacks_before = self.has_stacks();
        if !matches!(self.place, Place::Process(_)) && tab == Tab::Kernel {
            // Where the table was left one comes back to.
            self.parents
                .push((self.place.clone(), self.followed.take()));
        } else if self.tab == Tab::Kernel && !matches!(self.place, Place::Process(_)) {
            let before = self.parents.pop();
            self.followed = before.and_then(|(_, followed)| followed);
        } else if stacks_before {
            self.followed = None;
        }
        self.tab = tab;
        self.is_in_details = false;
        self.details_from = 0;
        let is_new = tab == Tab::Kernel && !self.phases.contains_key(&TraceId::Kernel);
        if is_new {
            self.phases.insert(TraceId::Kernel, Phase::Starting);
        }
        self.refresh();
        match is_new {
            true => vec![Effect::TraceKernel],
            false => Vec::new(),
        }
    }

    /// Opens what is selected: a group, a process, the details of a stack.
    fn open(&mut self) -> Vec<Effect> {
        let Rows::Processes(rows) = &self.rows else {
            self.is_in_details = self.stack().is_some();
            return Vec::new();
        };
        let Some(row) = rows.get(self.list.selected()) else {
            return Vec::new();
        };
        let key = row.key.clone();
        self.followed = self.selected();
        match key {
            Key::Group(name) => {
                self.enter(Place::Group(name));
                Vec::new()
            }
            Key::Process(pid) => self.open_process(pid),
        }
    }

    fn open_process(&mut self, pid: u32) -> Vec<Effect> {
        let known = self.trace_of(pid);
        if known.is_none() {
            self.phases.insert(TraceId::Process(pid), Phase::Starting);
        }
        self.enter(Place::Process(pid));
        match known {
            None => vec![Effect::Trace(pid)],
            Some(id) => vec![Effect::LookAt(id)],
        }
    }

    fn enter(&mut self, place: Place) {
        let left = std::mem::replace(&mut self.place, place);
        self.parents.push((left, self.followed.take()));
        self.is_in_details = false;
        self.details_from = 0;
        self.stack_filter.clear();
        self.refresh();
    }

    /// Back to where one came from. A trace that was begun by opening a process ends.
    fn back(&mut self) -> Vec<Effect> {
        if self.is_in_details {
            self.is_in_details = false;
            return Vec::new();
        }
        if !self.filter().is_empty() {
            self.filter_mut().clear();
            self.refresh();
            return Vec::new();
        }
        if self.tab == Tab::Kernel {
            return self.go_to(Tab::Heap);
        }
        let left = self.place.clone();
        self.leave_place();
        let Place::Process(pid) = left else {
            return Vec::new();
        };
        let id = TraceId::Process(pid);
        self.data.traces.remove(&id);
        if let Some(frozen) = &mut self.frozen {
            frozen.traces.remove(&id);
        }
        let was_traced = self.phases.remove(&id).is_some();
        self.refresh();
        match was_traced {
            true => vec![Effect::EndTrace(pid)],
            false => Vec::new(),
        }
    }

    /// Back to the place before, and to what was selected there.
    pub(super) fn leave_place(&mut self) {
        let (place, followed) = self.parents.pop().unwrap_or_default();
        self.place = place;
        self.followed = followed;
        self.is_in_details = false;
        self.details_from = 0;
        self.refresh();
    }
}
