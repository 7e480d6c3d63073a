//! Names of code that a runtime compiles as it runs, from the file that it writes for `perf`.
//!
//! Each line is `START SIZE NAME`, numbers in hex (tools/perf/Documentation/jit-interface.txt in the kernel sources).
//! Read in one pass for the addresses in question, and not kept: the file grows with the program, its last line may
//! be half written, and a later line replaces an earlier one for the same memory.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Longest line that is looked at; the file is the traced program's and may hold anything.
const MAX_LINE: u64 = 4096;

/// A function of a perf map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JitName {
    /// First address (AVMA).
    pub start: u64,
    /// Its name.
    pub name: String,
}

/// Finds the functions that hold the addresses.
pub(super) fn find(mut map: impl BufRead, addresses: &[u64]) -> io::Result<HashMap<u64, JitName>> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    let mut found = HashMap::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut map).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        let Some((start, size, name)) = parse_line(&line) else {
            continue;
        };
        let first = sorted.partition_point(|address| *address < start);
        for address in sorted[first..]
            .iter()
            .take_while(|address| **address - start < size)
        {
            let name = String::from_utf8_lossy(name).into_owned();
            found.insert(*address, JitName { start, name });
        }
    }
}

fn parse_line(line: &[u8]) -> Option<(u64, u64, &[u8])> {
    // Without its newline the line is still being written.
    let line = line.strip_suffix(b"\n")?;
    let mut fields = line.splitn(3, |byte| *byte == b' ');
    let mut hex = || {
        let text = std::str::from_utf8(fields.next()?).ok()?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let (start, size) = (hex()?, hex()?);
    let name = fields.next()?.trim_ascii();
    (!name.is_empty()).then_some((start, size, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_name_of_each_address() {
        let map =
            b"1000 10 LazyCompile:~old a.js:1\nnot a line\n2000 8 b c\n0x1000 20 new\n3000 10 half";
        let found = find(
            &map[..],
            &[0xfff, 0x1000, 0x101f, 0x1020, 0x2007, 0x2008, 0x3000],
        )
        .expect("read");
        let mut names: Vec<_> = found
            .iter()
            .map(|(at, jit)| (*at, jit.start, jit.name.as_str()))
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                (0x1000, 0x1000, "new"),
                (0x101f, 0x1000, "new"),
                (0x2007, 0x2000, "b c")
            ]
        );
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let junk = vec![b'1'; 1 << 20];
        assert_eq!(find(&junk[..], &[1]).expect("read"), HashMap::new());
    }
}
