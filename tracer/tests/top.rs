//! The screens of `memlens top`, against golden files.

#[path = "samples/golden.rs"]
mod golden;
mod top_samples;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use memlens::top::{App, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use golden::check_folder;
use top_samples::{app, app_of, grown, kernel_comes, space_comes};

/// A screen as text; the selected row has a mark of its own.
fn screen(app: &mut App, width: u16, height: u16) -> String {
    let backend = TestBackend::new(width, height);
    let mut terminal = Terminal::new(backend).expect("a terminal");
    terminal
        .draw(|frame| draw::draw(app, frame))
        .expect("a picture");
    let buffer = terminal.backend().buffer();
    let lines = (0..height).map(|line| {
        let cells = (0..width).map(|column| buffer[(column, line)].symbol());
        format!("{}\n", cells.collect::<String>().trim_end())
    });
    lines.collect()
}

fn press(app: &mut App, keys: &[KeyCode]) {
    for key in keys {
        app.event(&Event::Key(KeyEvent::new(*key, KeyModifiers::NONE)));
    }
}

fn typed(app: &mut App, text: &str) {
    let keys: Vec<KeyCode> = text.chars().map(KeyCode::Char).collect();
    press(app, &keys);
}

/// The screen after these keys.
fn after(keys: &[KeyCode], width: u16, height: u16) -> String {
    let mut app = app();
    press(&mut app, keys);
    screen(&mut app, width, height)
}

const OPEN: [KeyCode; 1] = [KeyCode::Enter];

fn filtered() -> String {
    let mut app = app();
    typed(&mut app, "/redis");
    screen(&mut app, 100, 15)
}

fn with_baseline() -> (String, String) {
    let mut app = app();
    typed(&mut app, "b");
    grown(&mut app);
    let table = screen(&mut app, 120, 15);
    press(&mut app, &OPEN);
    (table, screen(&mut app, 120, 24))
}

fn held() -> String {
    let mut app = app();
    typed(&mut app, "p");
    let before = screen(&mut app, 80, 15);
    grown(&mut app);
    assert_eq!(screen(&mut app, 80, 15), before, "it does not stand still");
    before
}

/// A process that was opened, of which no more than its address space is traced.
fn opened() -> (String, String, String) {
    let mut app = app();
    press(&mut app, &[KeyCode::Down, KeyCode::Enter]);
    let waiting = screen(&mut app, 80, 15);
    space_comes(&mut app, 2210);
    let no_heap = screen(&mut app, 80, 15);
    press(&mut app, &[KeyCode::Tab]);
    (waiting, no_heap, screen(&mut app, 120, 24))
}

fn kernel() -> String {
    let mut app = app();
    press(&mut app, &[KeyCode::BackTab]);
    kernel_comes(&mut app);
    screen(&mut app, 120, 30)
}

fn by_container() -> String {
    let mut app = app_of(memlens::profile::machine::By::Container, true);
    screen(&mut app, 100, 15)
}

fn in_ascii() -> String {
    let mut app = app_of(memlens::profile::machine::By::Process, false);
    press(&mut app, &OPEN);
    screen(&mut app, 120, 30)
}

fn goldens() -> Vec<(String, String)> {
    use KeyCode::{BackTab, Char, Down, Enter, Tab};
    let (baseline, baseline_stacks) = with_baseline();
    let (waiting, no_heap, address_space) = opened();
    let screens = [
        ("table_60x15", after(&[], 60, 15)),
        ("table_80x24", after(&[], 80, 24)),
        ("table_200x50", after(&[], 200, 50)),
        (
            "table_sorted",
            after(&[Char('s'), Char('s'), Char('s'), Down], 100, 15),
        ),
        ("process_60x15", after(&OPEN, 60, 15)),
        ("process_80x24", after(&OPEN, 80, 24)),
        ("process_200x50", after(&OPEN, 200, 50)),
        (
            "process_details",
            after(&[Enter, Down, Enter, Down, Down], 80, 24),
        ),
        ("address_space_table", after(&[Tab], 120, 24)),
        ("address_space", address_space),
        ("waiting", waiting),
        ("no_heap", no_heap),
        ("kernel", kernel()),
        ("kernel_waiting", after(&[BackTab], 80, 15)),
        ("help_60x15", after(&[Char('?')], 60, 15)),
        ("help_100x40", after(&[Char('?')], 100, 40)),
        ("filter", filtered()),
        ("held", held()),
        ("by_container", by_container()),
        ("ascii", in_ascii()),
        ("baseline", baseline),
        ("baseline_stacks", baseline_stacks),
        ("too_small", after(&[], 59, 24)),
        ("too_low", after(&[], 80, 14)),
        ("prompt", after(&[Enter, Char('o'), Char('3')], 80, 15)),
    ];
    let named = screens.map(|(name, text)| (format!("{name}.txt"), text));
    named.into()
}

#[test]
fn screens_are_as_blessed() {
    check_folder("top", goldens());
}

/// No size panics, and nothing is drawn beyond the screen.
#[test]
fn any_size_can_be_drawn() {
    let mut app = app();
    for keys in [&[][..], &OPEN, &[KeyCode::Char('?')]] {
        press(&mut app, keys);
        for width in (1..130).step_by(7) {
            for height in 1..40 {
                screen(&mut app, width, height);
            }
        }
    }
}
