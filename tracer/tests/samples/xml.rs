//! Whether a picture is well-formed XML, and the texts in it.

/// What a reader sees of a picture, one text a line: its title and subtitle, then what each frame is.
///
/// Frames are in alphabetical order, as the drawing library decides their order in the document. Only a picture without
/// frames has monospaced texts.
pub fn picture_texts(document: &str) -> String {
    check_xml(document).unwrap_or_else(|error| panic!("{error}: {document}"));
    let elements = document.split('<').filter_map(|part| part.split_once('>'));
    let (titles, mut frames): (Vec<_>, Vec<_>) = elements
        .filter(|(tag, text)| !text.is_empty() && (*tag == "title" || is_title(tag)))
        .partition(|(tag, _)| is_title(tag));
    frames.sort_unstable();
    let lines = titles.iter().chain(&frames);
    lines.map(|(_, text)| format!("{text}\n")).collect()
}

fn is_title(tag: &str) -> bool {
    let marks = [
        r#"id="title""#,
        r#"id="subtitle""#,
        r#"font-family="monospace""#,
    ];
    tag.starts_with("text ") && marks.iter().any(|mark| tag.contains(mark))
}

/// A small check of well-formedness: tags pair, entities are known, no bare control characters.
pub fn check_xml(document: &str) -> Result<(), String> {
    if let Some(bad) = document
        .chars()
        .find(|c| c.is_control() && !"\n\r\t".contains(*c))
    {
        return Err(format!("control character {bad:?}"));
    }
    let mut open: Vec<&str> = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find(['<', '&']) {
        let tail = &rest[start..];
        let skip = |end: &str| {
            let found = tail.find(end).map(|index| index + end.len());
            found.ok_or_else(|| format!("no {end} after {:.40}", tail))
        };
        let length = if tail.starts_with('&') {
            let length = skip(";")?;
            let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"];
            if !known.contains(&&tail[..length]) && !tail.starts_with("&#") {
                return Err(format!("entity {}", &tail[..length]));
            }
            length
        } else if tail.starts_with("<![CDATA[") {
            skip("]]>")?
        } else if tail.starts_with("<!--") {
            skip("-->")?
        } else {
            let length = skip(">")?;
            let tag = &tail[1..length - 1];
            let name = tag
                .trim_start_matches('/')
                .split([' ', '/', '\n'])
                .next()
                .unwrap_or("");
            if let Some(closed) = tag.strip_prefix('/') {
                if open.pop() != Some(closed) {
                    return Err(format!("</{closed}> closes nothing"));
                }
            } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
                open.push(name);
            }
            length
        };
        rest = &tail[length..];
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(format!("open: {open:?}"))
    }
}
