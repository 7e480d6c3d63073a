//! A terminal's text as a picture: SVG with real text in it.

use std::fmt::Write as _;

/// Height of a line, width of a character and the margin, in pixels.
const LINE: usize = 18;
const CHARACTER: f64 = 7.83;
const MARGIN: usize = 16;

/// How a run of characters looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ink {
    Plain,
    Strong,
    Faint,
}

impl Ink {
    /// The ink after an escape sequence `\x1b[CODEm`, of those that memlens writes.
    fn of(code: &str) -> Self {
        match code {
            "1" => Self::Strong,
            "2" => Self::Faint,
            _ => Self::Plain,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Plain => "p",
            Self::Strong => "s",
            Self::Faint => "f",
        }
    }
}

/// The picture of a command and what it printed.
pub fn of(command: &str, printed: &str) -> String {
    let lines: Vec<&str> = printed
        .trim_end()
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    let widest = lines
        .iter()
        .map(|line| stripped(line).chars().count())
        .max()
        .unwrap_or(0);
    let width = (widest as f64 * CHARACTER) as usize + 2 * MARGIN;
    let height = (lines.len() + 2) * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"{command}\">\n\
         <style>text{{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#d6deeb;white-space:pre}}\
         .s{{font-weight:700;fill:#fff}}.f{{fill:#7f93a8}}.c{{fill:#8fd18f}}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#10161d\"/>\n\
         <text class=\"c\" x=\"{MARGIN}\" y=\"{}\">$ {}</text>\n",
        MARGIN + LINE,
        escaped(command)
    );
    for (at, line) in lines.iter().enumerate() {
        let y = MARGIN + (at + 3) * LINE;
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y}\" xml:space=\"preserve\">{}</text>",
            spans(line)
        );
    }
    svg + "</svg>\n"
}

/// A line with its escape sequences as classes.
fn spans(line: &str) -> String {
    let mut text = String::new();
    for (ink, run) in runs(line) {
        match ink {
            Ink::Plain => text += &escaped(run),
            ink => {
                let _ = write!(
                    text,
                    "<tspan class=\"{}\">{}</tspan>",
                    ink.class(),
                    escaped(run)
                );
            }
        }
    }
    text
}

/// The runs of one look in a line.
fn runs(line: &str) -> Vec<(Ink, &str)> {
    let mut ink = Ink::Plain;
    let mut found = Vec::new();
    for (at, part) in line.split("\x1b[").enumerate() {
        let (code, run) = match at {
            0 => (None, part),
            _ => part
                .split_once('m')
                .map_or((None, part), |(code, run)| (Some(code), run)),
        };
        ink = code.map_or(ink, Ink::of);
        if !run.is_empty() {
            found.push((ink, run));
        }
    }
    found
}

fn stripped(line: &str) -> String {
    runs(line).into_iter().map(|(_, run)| run).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// What was printed, without escape sequences.
pub fn plain(printed: &str) -> Vec<String> {
    printed
        .lines()
        .map(|line| stripped(line.trim_end_matches('\r')))
        .collect()
}

/// The lines of a picture.
pub fn text(svg: &str) -> Vec<String> {
    let lines = svg
        .lines()
        .filter_map(|line| line.strip_prefix("<text ")?.split_once('>'));
    lines
        .map(|(_, line)| unescaped(line.trim_end_matches("</text>")))
        .collect()
}

/// Text out of a line with tags and entities.
fn unescaped(line: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for c in line.chars() {
        match c {
            '<' => is_tag = true,
            '>' => is_tag = false,
            c if !is_tag => text.push(c),
            _ => {}
        }
    }
    text.replace("&quot;", "\"")
        .replace("&gt;", ">")
        .replace("&lt;", "<")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_text() {
        let printed = "\x1b[1mfound:\x1b[0m Vec<u8> & more\r\n    \x1b[2ma.c:1\x1b[0m\r\n";
        let svg = of("memlens hunt", printed);
        assert_eq!(text(&svg)[1..], plain(printed));
        assert!(svg.contains("<tspan class=\"s\">found:</tspan> Vec&lt;u8&gt; &amp; more"));
        assert!(!svg.contains('\x1b') && svg.ends_with("</svg>\n"));
    }
}
