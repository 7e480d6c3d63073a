//! What keys do: one table for those who press them and for those who read the help.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// The first row.
    First,
    /// The last row.
    Last,
    /// More of the selected row.
    Open,
    /// Where one came from.
    Back,
    /// The rows of a stack's details.
    ToDetails,
    /// The list of stacks.
    ToList,
    /// The next of heap, address space, kernel.
    NextTab,
    /// The one before.
    PreviousTab,
    /// The next column to sort by.
    Sort,
    /// The other way round.
    Reverse,
    /// Only rows with a text in them.
    Filter,
    /// The screen stands still, or goes on.
    Pause,
    /// Growth is shown since now.
    Baseline,
    /// Growth is shown per minute again.
    ClearBaseline,
    /// Only blocks that are old enough.
    Older,
    /// A file of what is seen.
    Export,
    /// What keys do.
    Help,
    /// The end.
    Leave,
    /// The end, of a traced command as well.
    Interrupt,
    /// Back to the shell, which can go on with it.
    Suspend,
    /// A fresh screen.
    Redraw,
}

/// Keys that do the same.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys.
    pub keys: &'static [(KeyCode, KeyModifiers)],
    /// What they do.
    pub action: Action,
    /// The keys in the help.
    pub label: &'static str,
    /// What they do, in the help.
    pub help: &'static str,
    /// What they do, in the last line of the screen; empty for those that are not there.
    pub short: &'static str,
}

const PLAIN: KeyModifiers = KeyModifiers::NONE;
const CONTROL: KeyModifiers = KeyModifiers::CONTROL;

const fn letter(letter: char) -> (KeyCode, KeyModifiers) {
    (KeyCode::Char(letter), PLAIN)
}

const fn control(letter: char) -> (KeyCode, KeyModifiers) {
    (KeyCode::Char(letter), CONTROL)
}

const fn key(code: KeyCode) -> (KeyCode, KeyModifiers) {
    (code, PLAIN)
}

macro_rules! bindings {
    ($($keys:expr, $action:ident, $label:literal, $help:literal, $short:literal;)+) => {
        /// All keys, in the order of the help.
        pub const BINDINGS: &[Binding] = &[$(Binding {
            keys: &$keys,
            action: Action::$action,
            label: $label,
            help: $help,
            short: $short,
        }),+];
    };
}

bindings! {
    [key(KeyCode::Up), letter('k')], Up, "Up, k, wheel", "the row above", "";
    [key(KeyCode::Down), letter('j')], Down, "Down, j, click", "the row below", "";
    [key(KeyCode::PageUp), control('b')], PageUp, "PgUp, Ctrl-B", "a page up", "";
    [key(KeyCode::PageDown), control('f')], PageDown, "PgDn, Ctrl-F", "a page down", "";
    [key(KeyCode::Home)], First, "Home", "the first row", "";
    [key(KeyCode::End), letter('G')], Last, "End, G", "the last row", "";
    [key(KeyCode::Enter)], Open, "Enter", "trace a process, and show its stacks", "open";
    [key(KeyCode::Esc), key(KeyCode::Backspace)], Back, "Esc, Backspace", "back; a trace that Enter began ends", "back";
    [key(KeyCode::Right), letter('l')], ToDetails, "Right, l", "scroll the details of a stack", "";
    [key(KeyCode::Left), letter('h')], ToList, "Left, h", "back to the list of stacks", "";
    [key(KeyCode::Tab)], NextTab, "Tab", "heap, address space, kernel", "view";
    [key(KeyCode::BackTab)], PreviousTab, "Shift-Tab", "the same, backwards", "";
    [letter('s')], Sort, "s", "sort by the next column", "sort";
    [letter('S')], Reverse, "S", "sort the other way round", "";
    [letter('/')], Filter, "/", "rows with a name, PID, place; a function", "filter";
    [letter(' '), letter('p')], Pause, "Space, p", "hold the screen; traces go on", "hold";
    [letter('b')], Baseline, "b", "show growth since now", "baseline";
    [letter('B')], ClearBaseline, "B", "show growth per minute again", "";
    [letter('o')], Older, "o", "stacks count older blocks only", "older";
    [letter('e')], Export, "e", "write what is seen to a file", "export";
    [letter('?'), key(KeyCode::F(1))], Help, "?, F1", "this help", "help";
    [letter('q')], Leave, "q", "leave; a command goes on", "leave";
    [control('c')], Interrupt, "Ctrl-C", "leave; a command is interrupted", "";
    [control('z')], Suspend, "Ctrl-Z", "to the shell; fg comes back", "";
    [control('l')], Redraw, "Ctrl-L", "draw the screen anew", "";
}

/// What a key asks for.
pub fn action_of(key: &KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    // A capital letter is itself; Shift-Tab has a code of its own.
    let pressed = (key.code, key.modifiers.difference(KeyModifiers::SHIFT));
    let found = BINDINGS
        .iter()
        .find(|binding| binding.keys.contains(&pressed));
    found.map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let mut seen = HashSet::new();
        let mut actions = HashSet::new();
        for binding in BINDINGS {
            assert!(actions.insert(binding.action), "{:?}", binding.action);
            assert!(
                binding.help.len() <= 40,
                "too long for the help: {binding:?}"
            );
            for key in binding.keys {
                assert!(seen.insert(*key), "{key:?}");
            }
        }
    }

    #[test]
    fn keys_have_their_meaning() {
        let of = |code, modifiers| action_of(&KeyEvent::new(code, modifiers));
        let shift = KeyModifiers::SHIFT;
        let cases = [
            (KeyCode::Char('j'), PLAIN, Some(Action::Down)),
            (KeyCode::Char('S'), shift, Some(Action::Reverse)),
            (KeyCode::Char('s'), PLAIN, Some(Action::Sort)),
            (KeyCode::BackTab, shift, Some(Action::PreviousTab)),
            (KeyCode::Char('c'), CONTROL, Some(Action::Interrupt)),
            (KeyCode::Char('c'), PLAIN, None),
            // A zero is read as Ctrl and the space bar. It need not be of the user: an end of file that comes before
            // the terminal is raw is one (kernel, drivers/tty/n_tty.c).
            (KeyCode::Char(' '), CONTROL, None),
        ];
        for (code, modifiers, action) in cases {
            assert_eq!(of(code, modifiers), action, "{code:?}");
        }
        let mut released = KeyEvent::new(KeyCode::Char('q'), PLAIN);
        released.kind = KeyEventKind::Release;
        assert_eq!(action_of(&released), None);
    }
}
