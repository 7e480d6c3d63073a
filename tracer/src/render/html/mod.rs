//! A profile as one page of HTML, which needs nothing else: verdicts, values over time, an icicle, a table of stacks.
//!
//! The page draws itself from its data, which is compact JSON (`data.rs`). A policy allows its own script and style by
//! their hashes, and no request to anywhere.

mod assets;
mod data;
mod tree;

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use self::data::Data;
use super::{Options, Render};
use crate::profile::Profile;

/// Data that is larger is packed.
const LARGEST_PLAIN: usize = 64 << 10;

/// The renderer.
pub struct Html;

impl Render for Html {
    fn render(&self, profile: &Profile, options: &Options, out: &mut dyn Write) -> io::Result<()> {
        let data = Data::of(profile, options);
        let (script, style) = (assets::SCRIPTS.join("\n"), assets::STYLES.join("\n"));
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:",
            hash(&script),
            hash(&style)
        );
        write!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n<title>{} - memlens</title>\n<style>{style}</style>\n\
             </head>\n<body>\n{}\n",
            escaped(&data.title),
            assets::BODY
        )?;
        element(&serde_json::to_vec(&data)?, out)?;
        write!(out, "\n<script>{script}</script>\n</body>\n</html>\n")
    }
}

/// What a policy knows an inline script or style by (Content Security Policy Level 3, 6.7.2.2).
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(Sha256::digest(text)))
}

/// The data as an element that is no script: JSON in which nothing can end the element, or base64 of gzip.
fn element(json: &[u8], out: &mut dyn Write) -> io::Result<()> {
    if json.len() > LARGEST_PLAIN {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(json)?;
        let packed = BASE64.encode(packed.finish()?);
        return write!(
            out,
            "<script type=\"application/octet-stream\" id=\"data\">{packed}</script>"
        );
    }
    write!(out, "<script type=\"application/json\" id=\"data\">")?;
    for (place, part) in json.split(|byte| *byte == b'<').enumerate() {
        if place > 0 {
            write!(out, "\\u003c")?;
        }
        out.write_all(part)?;
    }
    write!(out, "</script>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a symbol is called, it cannot end the element that it is in.
    #[test]
    fn data_stays_in_its_element() {
        let json = br#"["</script><img src=x>", "<!--"]"#;
        let mut out = Vec::new();
        element(json, &mut out).expect("a vector takes all");
        let text = String::from_utf8(out).expect("UTF-8");
        let inner = text.strip_prefix("<script type=\"application/json\" id=\"data\">");
        let inner = inner
            .and_then(|text| text.strip_suffix("</script>"))
            .expect("an element");
        assert!(!inner.contains('<'), "{inner}");
        let read: Vec<String> = serde_json::from_str(inner).expect("JSON");
        assert_eq!(read, ["</script><img src=x>", "<!--"]);
    }

    #[test]
    fn large_data_is_packed() {
        let json = format!("[{}0]", "1,".repeat(LARGEST_PLAIN));
        let mut out = Vec::new();
        element(json.as_bytes(), &mut out).expect("a vector takes all");
        assert!(
            out.starts_with(b"<script type=\"application/octet-stream\"") && out.len() < 20_000
        );
    }
}
