//! Keys and what becomes of the view, as a table; and any keys at all.

use std::sync::Arc;

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::*;
use crate::profile::machine::MachineSection;
use crate::profile::{Builder, Frame, Measure, Meta, Subject, Values};
use crate::top::draw;

const NAMES: [&str; 4] = ["api", "redis-server", "bash", "cron"];

fn app(by: By) -> App {
    let mut app = App::new(Settings {
        by,
        target: None,
        target_pids: Vec::new(),
        time_zone: TimeZone::UTC,
        color: true,
        unicode: true,
        older: Duration::ZERO,
    });
    app.take_machine(machine(1), None);
    app.list.fit(3);
    app
}

/// Four processes, the first of which has most.
fn machine(second: u64) -> Profile {
    let mut profile = Profile::default();
    profile.meta.elapsed = Duration::from_secs(second);
    profile.sections.machine = Some(MachineSection::default());
    profile.subjects = (1..)
        .zip(NAMES)
        .map(|(pid, name)| Subject {
            totals: Values::default()
                .with(Measure::ProcessRssBytes, u64::from(100 - pid) << 20)
                .with(Measure::ProcessTotalBytes, u64::from(100 - pid) << 20),
            ..Subject::process(pid, name)
        })
        .collect();
    profile
}

/// A heap with so many stacks.
fn heap(pid: u32, stacks: u64) -> Traced {
    let mut build = Builder::new(Meta::default());
    build.measures(Measure::of(Source::Heap));
    let values = Values::default().with(Measure::HeapLiveBytes, 4_096_u64);
    let subject = build.subject(Subject {
        totals: values.clone(),
        ..Subject::process(pid, "api")
    });
    for number in 0..stacks {
        let frame = build.frame(Frame {
            address: number,
            symbol: Some(format!("function_{number}").into()),
            ..Frame::default()
        });
        let stack = build.stack(vec![frame], None);
        let sample = build.sample(Source::Heap, subject, Some(stack), &values);
        build.add(sample);
    }
    Traced::Profile(Arc::new(build.finish()))
}

fn press(app: &mut App, code: KeyCode) -> Vec<Effect> {
    app.event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn typed(app: &mut App, keys: &str) -> Vec<Effect> {
    keys.chars()
        .flat_map(|letter| match letter {
            '\n' => press(app, KeyCode::Enter),
            '\t' => press(app, KeyCode::Tab),
            '<' => press(app, KeyCode::Esc),
            letter => press(app, KeyCode::Char(letter)),
        })
        .collect()
}

/// The name of the selected row.
fn selected(app: &App) -> String {
    let index = app.list.selected();
    match &app.rows {
        Rows::Processes(rows) => rows[index].name.clone(),
        Rows::Stacks(rows) => rows[index].name.clone(),
    }
}

/// Keys, where they lead, and what they ask for.
#[test]
fn keys_lead_somewhere() {
    let process = Place::Process(1);
    let cases: &[(&str, Place, Tab, Mode, &[Effect])] = &[
        ("", Place::Machine, Tab::Heap, Mode::Keys, &[]),
        (
            "\n",
            process.clone(),
            Tab::Heap,
            Mode::Keys,
            &[Effect::Trace(1)],
        ),
        (
            "\n<",
            Place::Machine,
            Tab::Heap,
            Mode::Keys,
            &[Effect::Trace(1), Effect::EndTrace(1)],
        ),
        ("<", Place::Machine, Tab::Heap, Mode::Keys, &[]),
        ("\t", Place::Machine, Tab::Space, Mode::Keys, &[]),
        (
            "\t\t",
            Place::Machine,
            Tab::Kernel,
            Mode::Keys,
            &[Effect::TraceKernel],
        ),
        // It is traced once.
        (
            "\t\t\t\t\t",
            Place::Machine,
            Tab::Kernel,
            Mode::Keys,
            &[Effect::TraceKernel],
        ),
        (
            "\t\t<",
            Place::Machine,
            Tab::Heap,
            Mode::Keys,
            &[Effect::TraceKernel],
        ),
        (
            "\n\t",
            process.clone(),
            Tab::Space,
            Mode::Keys,
            &[Effect::Trace(1)],
        ),
        ("?", Place::Machine, Tab::Heap, Mode::Help(0), &[]),
        ("?jj", Place::Machine, Tab::Heap, Mode::Help(2), &[]),
        (
            "?Gj",
            Place::Machine,
            Tab::Heap,
            Mode::Help(usize::MAX),
            &[],
        ),
        ("?x", Place::Machine, Tab::Heap, Mode::Keys, &[]),
        (
            "q",
            Place::Machine,
            Tab::Heap,
            Mode::Keys,
            &[Effect::Leave(false)],
        ),
        (
            "o30s\n",
            Place::Machine,
            Tab::Heap,
            Mode::Keys,
            &[Effect::Older(Duration::from_secs(30))],
        ),
        (
            "o\n",
            Place::Machine,
            Tab::Heap,
            Mode::Keys,
            &[Effect::Older(Duration::ZERO)],
        ),
        ("osoon\n", Place::Machine, Tab::Heap, Mode::Keys, &[]),
        ("o30<", Place::Machine, Tab::Heap, Mode::Keys, &[]),
        ("e\n", Place::Machine, Tab::Heap, Mode::Keys, &[]),
    ];
    for (keys, place, tab, mode, effects) in cases {
        let mut app = app(By::Process);
        let asked = typed(&mut app, keys);
        assert_eq!(
            (&app.place, app.tab, &app.mode),
            (place, *tab, mode),
            "{keys:?}"
        );
        assert_eq!(asked, *effects, "{keys:?}");
    }
    let mut app = app(By::Process);
    let asked = typed(&mut app, "ea b.json\n");
    assert_eq!(asked, [Effect::Export(PathBuf::from("a b.json"))]);
    let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
    assert_eq!(app.event(&Event::Key(control('c'))), [Effect::Leave(true)]);
    assert_eq!(app.event(&Event::Key(control('z'))), [Effect::Suspend]);
    assert_eq!(app.event(&Event::Resize(9, 9)), [Effect::Redraw]);
}

#[test]
fn a_selected_row_stays_selected() {
    let mut app = app(By::Process);
    typed(&mut app, "jj");
    assert_eq!(selected(&app), "bash");
    // By name: api, bash, cron, redis-server.
    typed(&mut app, "ssss");
    assert_eq!((selected(&app), app.list.selected()), ("bash".into(), 1));
    typed(&mut app, "S");
    assert_eq!((selected(&app), app.list.selected()), ("bash".into(), 2));
    // At the top one stays at the top.
    press(&mut app, KeyCode::Home);
    assert_eq!(selected(&app), "redis-server");
    typed(&mut app, "S");
    assert_eq!(selected(&app), "api");
}

#[test]
fn a_filter_holds_while_it_is_typed() {
    let mut app = app(By::Process);
    typed(&mut app, "/Re");
    assert_eq!((selected(&app), app.rows.len()), ("redis-server".into(), 1));
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.rows.len(), 4);
    typed(&mut app, "/zzz\n");
    assert_eq!((app.rows.len(), app.list.selected()), (0, 0));
    assert!(typed(&mut app, "\n").is_empty());
    press(&mut app, KeyCode::Esc);
    assert_eq!((app.rows.len(), &app.place), (4, &Place::Machine));
}

#[test]
fn a_group_shows_its_processes() {
    let mut app = app(By::Name);
    typed(&mut app, "j\n");
    assert_eq!(app.place, Place::Group("redis-server".into()));
    assert_eq!(app.rows.len(), 1);
    assert_eq!(typed(&mut app, "\n"), [Effect::Trace(2)]);
    assert_eq!(typed(&mut app, "<"), [Effect::EndTrace(2)]);
    typed(&mut app, "<");
    assert_eq!(
        (&app.place, selected(&app)),
        (&Place::Machine, "redis-server".into())
    );
}

#[test]
fn a_trace_that_cannot_be_says_why() {
    let mut app = app(By::Process);
    typed(&mut app, "\n");
    app.take_trace(
        TraceId::Process(1),
        Traced::Failed("it is not allowed".into()),
    );
    assert_eq!(app.place, Place::Machine);
    assert_eq!(app.message.as_deref(), Some("it is not allowed"));
    // The next key takes the message away, and what comes too late is not heeded.
    typed(&mut app, "j");
    app.take_trace(TraceId::Process(1), heap(1, 3));
    assert_eq!((app.message, app.data.traces.len()), (None, 0));
}

#[test]
fn what_is_held_stands_still() {
    let mut app = app(By::Process);
    typed(&mut app, "\n");
    app.take_trace(TraceId::Process(1), heap(1, 3));
    assert_eq!(app.rows.len(), 3);
    typed(&mut app, "p");
    app.take_trace(TraceId::Process(1), heap(1, 5));
    assert_eq!(app.rows.len(), 3);
    typed(&mut app, "s/_1\n");
    assert_eq!((app.rows.len(), app.is_held()), (1, true));
    typed(&mut app, "<p");
    assert_eq!(app.rows.len(), 5);
}

#[test]
fn growth_is_shown_since_a_baseline() {
    use crate::top::baseline::Since;
    let mut app = app(By::Process);
    typed(&mut app, "\n");
    app.take_trace(TraceId::Process(1), heap(1, 2));
    typed(&mut app, "b");
    app.take_trace(TraceId::Process(1), heap(1, 3));
    let since = |app: &App| match &app.rows {
        Rows::Stacks(rows) => rows.iter().map(|row| row.since).collect::<Vec<_>>(),
        Rows::Processes(_) => Vec::new(),
    };
    let (same, new) = (Some(Since::Bytes(0)), Some(Since::New));
    assert_eq!(since(&app), [same, same, new]);
    typed(&mut app, "B");
    assert_eq!(since(&app), [None; 3]);
}

#[test]
fn the_mouse_selects_and_opens() {
    let mut app = app(By::Process);
    app.list_top = 4;
    let click = |row| {
        Event::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column: 3,
            row,
            modifiers: KeyModifiers::NONE,
        })
    };
    assert!(app.event(&click(2)).is_empty() && app.event(&click(9)).is_empty());
    assert!(app.event(&click(5)).is_empty());
    assert_eq!(selected(&app), "redis-server");
    assert_eq!(app.event(&click(5)), [Effect::Trace(2)]);
}

#[test]
fn what_is_seen_is_what_is_written() {
    let mut app = app(By::Process);
    typed(&mut app, "/b\n");
    let seen = app.seen().expect("a profile");
    assert_eq!(seen.subjects.len(), 1);
    assert_eq!(
        (seen.subjects[0].command.as_str(), app.source()),
        ("bash", Source::Process)
    );
    typed(&mut app, "<\n");
    app.take_trace(TraceId::Process(1), heap(1, 3));
    typed(&mut app, "/_2\n");
    let seen = app.seen().expect("a profile");
    assert_eq!(
        (seen.samples.len(), seen.stacks.len(), app.source()),
        (1, 1, Source::Heap)
    );
}

/// Anything that can happen to a view.
#[derive(Clone, Debug)]
enum Happens {
    Key(KeyCode, bool),
    Wheel(bool),
    Click(u16),
    Machine(u64),
    Trace(u8, u8),
}

fn happens() -> impl Strategy<Value = Happens> {
    let keys = prop_oneof![
        Just(KeyCode::Up),
        Just(KeyCode::Down),
        Just(KeyCode::PageUp),
        Just(KeyCode::PageDown),
        Just(KeyCode::Home),
        Just(KeyCode::End),
        Just(KeyCode::Left),
        Just(KeyCode::Right),
        Just(KeyCode::Enter),
        Just(KeyCode::Enter),
        Just(KeyCode::Esc),
        Just(KeyCode::Backspace),
        Just(KeyCode::Delete),
        Just(KeyCode::Tab),
        Just(KeyCode::BackTab),
        proptest::char::range(' ', '~').prop_map(KeyCode::Char),
        Just(KeyCode::Char('\u{3042}')),
    ];
    prop_oneof![
        8 => (keys, proptest::bool::weighted(0.1)).prop_map(|(key, control)| Happens::Key(key, control)),
        1 => any::<bool>().prop_map(Happens::Wheel),
        1 => (0_u16..40).prop_map(Happens::Click),
        1 => (0_u64..100).prop_map(Happens::Machine),
        2 => (0_u8..6, 0_u8..9).prop_map(|(what, of)| Happens::Trace(what, of)),
    ]
}

fn mouse(kind: MouseEventKind, row: u16) -> Event {
    Event::Mouse(MouseEvent {
        kind,
        column: 1,
        row,
        modifiers: KeyModifiers::NONE,
    })
}

fn happen(app: &mut App, what: &Happens) {
    match what {
        Happens::Key(code, is_control) => {
            let modifiers = match is_control {
                true => KeyModifiers::CONTROL,
                false => KeyModifiers::NONE,
            };
            app.event(&Event::Key(KeyEvent::new(*code, modifiers)));
        }
        Happens::Wheel(true) => drop(app.event(&mouse(MouseEventKind::ScrollUp, 1))),
        Happens::Wheel(false) => drop(app.event(&mouse(MouseEventKind::ScrollDown, 1))),
        Happens::Click(row) => {
            app.event(&mouse(MouseEventKind::Down(MouseButton::Left), *row));
        }
        Happens::Machine(second) => app.take_machine(machine(*second), Some(1)),
        Happens::Trace(0, _) => app.take_trace(TraceId::Process(1), Traced::Failed("no".into())),
        Happens::Trace(1, _) => app.take_trace(TraceId::Process(2), Traced::Ended),
        Happens::Trace(2, _) => app.take_trace(TraceId::Kernel, Traced::Failed("no".into())),
        Happens::Trace(pid, stacks) => {
            let pid = u32::from(*pid) - 2;
            app.take_trace(TraceId::Process(pid), heap(pid, u64::from(*stacks)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No sequence of keys panics, and what is selected is a row.
    #[test]
    fn anything_may_happen(
        all in proptest::collection::vec(happens(), 0..60),
        (width, height) in (1_u16..120, 1_u16..40),
        grouped in any::<bool>(),
    ) {
        let mut app = app(if grouped { By::Name } else { By::Process });
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        for what in &all {
            happen(&mut app, what);
            prop_assert!(app.list.selected() < app.rows.len().max(1), "{what:?}");
            prop_assert_eq!(app.list.len(), app.rows.len());
            terminal.draw(|frame| draw::draw(&mut app, frame)).expect("a picture");
            prop_assert!(app.list.offset() <= app.list.selected());
        }
    }
}
