//! How things look, and what they are drawn with. Nothing is said by color alone.

use ratatui::style::{Color, Modifier, Style};

/// How things look.
pub struct Theme {
    /// What matters.
    pub strong: Style,
    /// What matters less.
    pub faint: Style,
    /// What asks for attention.
    pub pressing: Style,
    /// The selected row.
    pub selected: Style,
    /// Headings of columns.
    pub heading: Style,
    /// Heights of a line, lowest first.
    pub heights: &'static [&'static str],
    /// A full and an empty place of a bar.
    pub bar: (&'static str, &'static str),
    /// Lines: across, down.
    pub rules: (&'static str, &'static str),
}

const BLOCKS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const LETTERS: [&str; 5] = ["_", ".", "-", "=", "#"];

impl Theme {
    /// With bold, dim and color, or without; with letters beyond ASCII, or without.
    pub fn new(color: bool, unicode: bool) -> Self {
        let styled = |style: Style| if color { style } else { Style::new() };
        let plain = Style::new();
        Self {
            strong: styled(plain.add_modifier(Modifier::BOLD)),
            faint: styled(plain.add_modifier(Modifier::DIM)),
            pressing: styled(plain.fg(Color::Yellow).add_modifier(Modifier::BOLD)),
            selected: plain.add_modifier(Modifier::REVERSED),
            heading: styled(plain.add_modifier(Modifier::UNDERLINED)),
            heights: if unicode { &BLOCKS } else { &LETTERS },
            bar: if unicode { ("█", "░") } else { ("|", ".") },
            rules: if unicode { ("─", "│") } else { ("-", "|") },
        }
    }
}
