//! `memlens top`: the live view. The view, the machine and each trace have a thread of their own, so that keys are
//! heeded whatever else takes long.

mod export;
mod input;
mod machine;
mod quiet;
mod trace;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use crossterm::event::Event;
use jiff::tz::TimeZone;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::input::Input;
use self::machine::Machine;
use self::trace::Trace;
use super::output::{options, print};
use super::refuse_if_unable;
use crate::cli::{Invocation, Outcome, TopConfig};
use crate::engine::target::{self, About, Target};
use crate::engine::{Flow, Interrupt};
use crate::profile::{Grouping, Profile};
use crate::render::{Format, Options};
use crate::top::screen::Screen;
use crate::top::{App, Effect, Phase, Settings, TraceId, Traced, draw};

/// Longest time between two looks at what was written to standard error.
const LOOK: Duration = Duration::from_millis(500);
/// Stacks of the last report.
const STACKS: usize = 10;
/// Lines of standard error that are shown again at the end.
const SAID: usize = 20;

/// What the other threads tell.
enum Told {
    /// Something happened on the terminal.
    Event(Event),
    /// A signal asks for the end.
    Interrupted,
    /// The terminal, or the machine, cannot be read any more.
    Broken(anyhow::Error),
    /// The machine, and the resident memory of memlens itself.
    Machine(Box<Profile>, Option<u64>),
    /// Something of a trace.
    Trace(TraceId, Traced),
}

/// Runs `memlens top`.
///
/// # Errors
/// What keeps the target from being traced, or the terminal from being used, in one line.
pub fn run(invocation: &Invocation, config: &TopConfig) -> Result<Outcome> {
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        bail!(
            "top needs a terminal: for reports that follow one another run memlens host or memlens leaks"
        );
    }
    let interrupt = Interrupt::install()?;
    let about = config.target.as_ref().map(|target| begin(target, config));
    let about = about.transpose()?;
    let settings = settings(invocation, config, about.as_ref());
    let command = about.as_ref().and_then(command_of);
    let (tell, told) = mpsc::channel();
    let mut view = View {
        invocation,
        config,
        app: App::new(settings),
        traces: BTreeMap::new(),
        tell,
        command,
        refreshes: 0,
        said: Vec::new(),
        is_over: false,
        is_interrupted: false,
        is_changed: true,
    };
    let machine = Machine::begin(config, view.tell.clone())?;
    if let Some(about) = about {
        let trace = trace::of_target(invocation, config, about, view.tell.clone())?;
        view.traces.insert(TraceId::Target, trace);
    }
    let followed = view.follow(interrupt, &told);
    view.end(machine, followed)
}

/// Refuses what cannot be traced, and finds or starts what is to be.
fn begin(target: &Target, config: &TopConfig) -> Result<About> {
    refuse_if_unable("load BPF programs")?;
    // What a command reads and prints would be in the way.
    let _quiet = match target {
        Target::Command(_) => Some(quiet::Streams::silence()?),
        _ => None,
    };
    target::resolve(target, Grouping::Process, config.force)
}

/// PID of the command to start.
fn command_of(about: &About) -> Option<u32> {
    match about {
        About::Named(targets) => targets.command.as_ref().map(|(stopped, _)| stopped.pid()),
        About::Scope { .. } => None,
    }
}

fn settings(invocation: &Invocation, config: &TopConfig, about: Option<&About>) -> Settings {
    let named = match about {
        Some(About::Named(targets)) => &targets.processes[..],
        _ => &[],
    };
    let words = match (about, named) {
        (None, _) => None,
        (Some(About::Scope { scope, .. }), _) => Some(scope.words()),
        (_, [only]) => Some(format!("{} ({})", only.comm, only.pid)),
        (_, several) => Some(format!("{} processes", several.len())),
    };
    Settings {
        by: config.by,
        target: words,
        target_pids: named.iter().map(|process| process.pid).collect(),
        time_zone: TimeZone::system(),
        color: invocation.color.for_stdout(),
        unicode: has_unicode(),
        older: config.older,
    }
}

/// Whether the locale is one of UTF-8 (locale(7): the first of the three that is set).
fn has_unicode() -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut set = names.iter().filter_map(|name| std::env::var(name).ok());
    let locale = set.find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The view while it runs.
struct View<'a> {
    invocation: &'a Invocation,
    config: &'a TopConfig,
    app: App,
    traces: BTreeMap<TraceId, Trace>,
    tell: Sender<Told>,
    /// PID of the command that was started.
    command: Option<u32>,
    /// Profiles of the machine so far.
    refreshes: u64,
    /// Lines that were written to standard error.
    said: Vec<String>,
    is_over: bool,
    /// Whether the command is about to end as well.
    is_interrupted: bool,
    /// Whether there is something new to draw.
    is_changed: bool,
}

impl View<'_> {
    /// Shows the view until one leaves it. The terminal is as it was then.
    fn follow(&mut self, interrupt: Interrupt, told: &Receiver<Told>) -> Result<()> {
        if self.invocation.color.for_stdout() {
            crossterm::style::force_color_output(true);
        }
        let mut screen = Screen::enter()?;
        let _input = Input::begin(interrupt, self.tell.clone())?;
        let mut looked = Instant::now();
        while !self.is_over {
            if screen.is_lost() {
                bail!("a thread has panicked");
            }
            if std::mem::take(&mut self.is_changed) {
                screen.draw(|frame| draw::draw(&mut self.app, frame))?;
            }
            let wait = LOOK.saturating_sub(looked.elapsed());
            match told.recv_timeout(wait) {
                Ok(first) => {
                    for told in std::iter::once(first).chain(told.try_iter()) {
                        self.take(told, &mut screen)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.take_errors(&mut screen);
            }
        }
        self.take_errors(&mut screen);
        Ok(())
    }

    /// Lines on standard error are shown in the last line; of several the last one.
    fn take_errors(&mut self, screen: &mut Screen) {
        let lines = screen.errors();
        let Some(last) = lines.last() else {
            return;
        };
        let line = last.strip_prefix("memlens: ").unwrap_or(last);
        self.app.say(line);
        self.is_changed = true;
        self.said.extend(lines);
        let left_out = self.said.len().saturating_sub(SAID);
        self.said.drain(..left_out);
    }

    fn take(&mut self, told: Told, screen: &mut Screen) -> Result<()> {
        self.is_changed = true;
        match told {
            Told::Event(event) => {
                for effect in self.app.event(&event) {
                    self.perform(effect, screen)?;
                }
            }
            Told::Interrupted => self.is_over = true,
            Told::Broken(why) => return Err(why),
            Told::Machine(profile, own_rss) => {
                self.app.take_machine(*profile, own_rss);
                self.refreshes += 1;
                let count = self.config.count;
                self.is_over |= count.is_some_and(|count| self.refreshes >= count.get());
            }
            Told::Trace(id, traced) => self.app.take_trace(id, traced),
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect, screen: &mut Screen) -> Result<()> {
        match effect {
            Effect::Trace(pid) => self.trace(pid)?,
            Effect::EndTrace(pid) => {
                // It ends by itself; nobody waits for its probes to be removed.
                self.traces.remove(&TraceId::Process(pid));
            }
            Effect::TraceKernel => {
                let trace = trace::of_kernel(self.invocation, self.app.older, self.pace())?;
                self.traces.insert(TraceId::Kernel, trace);
            }
            Effect::Older(older) => self.traces.values().for_each(|trace| trace.older(older)),
            Effect::LookAt(id) => self.traces.get(&id).into_iter().for_each(Trace::look),
            Effect::Export(path) => {
                let said = export::write(&self.app, &path);
                self.app.say(said);
            }
            Effect::Suspend => screen.suspend()?,
            Effect::Redraw => screen.forget()?,
            Effect::Leave(is_interrupt) => {
                self.is_over = true;
                self.is_interrupted = is_interrupt;
                if let Some(command) = self.command.filter(|_| is_interrupt) {
                    // As a Ctrl-C on the terminal would have done. It may have ended.
                    let _ = kill(Pid::from_raw(command.cast_signed()), Signal::SIGINT);
                }
            }
        }
        Ok(())
    }

    /// Begins to trace a process that was opened.
    fn trace(&mut self, pid: u32) -> Result<()> {
        let trace = trace::of_process(
            self.invocation,
            self.config,
            pid,
            self.app.older,
            self.pace(),
        )?;
        trace.look();
        self.traces.insert(TraceId::Process(pid), trace);
        Ok(())
    }

    /// How often traces tell, and whom.
    fn pace(&self) -> trace::Pace {
        trace::Pace {
            interval: self.config.interval,
            tell: self.tell.clone(),
        }
    }

    /// Ends the traces, and leaves the last report on the terminal.
    fn end(mut self, machine: Machine, followed: Result<()>) -> Result<Outcome> {
        let target = self.traces.remove(&TraceId::Target);
        // All of them end at the same time.
        let others: Vec<Trace> = std::mem::take(&mut self.traces).into_values().collect();
        self.said.iter().for_each(|line| eprintln!("{line}"));
        let exit = match target {
            None => {
                followed?;
                self.report(&machine.end()?)?;
                None
            }
            // Placing probes is not waited for: they go with the process.
            Some(_) if self.app.phases.get(&TraceId::Target) == Some(&Phase::Starting) => {
                followed?;
                eprintln!("memlens: left before the trace had begun");
                None
            }
            Some(target) => {
                let last = target.end(self.is_interrupted);
                followed?;
                self.report_target(last?)?
            }
        };
        drop(others);
        Ok(Outcome::Done(exit))
    }

    fn report(&self, profile: &Profile) -> Result<Flow> {
        print(Format::Text, profile, &options(self.invocation))
    }

    /// The report of what was traced; how a command ended.
    fn report_target(&self, last: Option<Profile>) -> Result<Option<crate::profile::CommandExit>> {
        let Some(last) = last else {
            return Ok(None);
        };
        let options = Options {
            top: Some(STACKS),
            ..options(self.invocation)
        };
        print(Format::Text, &last, &options)?;
        if let (Some(command), None) = (self.command, last.meta.command_exit) {
            eprintln!("memlens: process {command} goes on");
        }
        Ok(last.meta.command_exit)
    }
}
