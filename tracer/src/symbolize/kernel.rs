//! From addresses in the kernel to names: the symbols that the running kernel and its modules have.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use super::names::Names;
use super::{Frame, FrameAddress};

/// What is shown as the file of the kernel itself.
const KERNEL: &str = "[kernel]";

/// Names kernel addresses, each looked up once.
pub struct KernelSymbolizer {
    names: Names,
    modules: Vec<(Range<u64>, String)>,
    cache: HashMap<u64, Frame>,
}

impl Default for KernelSymbolizer {
    fn default() -> Self {
        Self::new()
    }
}

impl KernelSymbolizer {
    /// A symbolizer of the running kernel.
    pub fn new() -> Self {
        // A kernel without modules has no such file.
        let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
        Self {
            names: Names::new(),
            modules: parse_modules(&modules),
            cache: HashMap::new(),
        }
    }

    /// Names the frames of a kernel stack, innermost first; all are return addresses.
    pub fn symbolize(&mut self, addresses: &[u64]) -> Vec<Frame> {
        let mut unknown: Vec<u64> = addresses
            .iter()
            .copied()
            .filter(|address| !self.cache.contains_key(address))
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        if !unknown.is_empty() {
            self.look_up(&unknown);
        }
        addresses
            .iter()
            .filter_map(|address| self.cache.get(address).cloned())
            .collect()
    }

    fn look_up(&mut self, addresses: &[u64]) {
        let lookups: Vec<u64> = addresses
            .iter()
            .map(|address| FrameAddress::ReturnAddress(*address).lookup())
            .collect();
        let found = self.names.in_kernel(&lookups);
        for (address, found) in addresses.iter().zip(found) {
            let module = self.module(*address);
            let mut frame = Frame {
                address: *address,
                module: Some(PathBuf::from(module)),
                ..Frame::default()
            };
            match found {
                Ok(name) => {
                    frame.offset = Some(name.offset + 1);
                    frame.symbol = name
                        .layers
                        .into_iter()
                        .next_back()
                        .map(|layer| layer.symbol);
                }
                Err(reason) => frame.missing = Some(reason),
            }
            self.cache.insert(*address, frame);
        }
    }

    fn module(&self, address: u64) -> String {
        let mut modules = self.modules.iter();
        match modules.find(|(range, _)| range.contains(&address)) {
            Some((_, name)) => format!("[{name}]"),
            None => KERNEL.to_owned(),
        }
    }
}

/// Names of the modules and where they lie: `NAME SIZE USERS DEPENDENCIES STATE ADDRESS` (proc_modules(5)).
fn parse_modules(text: &str) -> Vec<(Range<u64>, String)> {
    let module = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let size: u64 = words.get(1)?.parse().ok()?;
        let start = u64::from_str_radix(words.get(5)?.strip_prefix("0x")?, 16).ok()?;
        (start > 0).then(|| (start..start + size, words[0].to_owned()))
    };
    text.lines().filter_map(module).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_where_the_kernel_says() {
        let text = "nf_tables 360448 1 - Live 0xffffffffc0a00000\n\
                    veth 45056 0 - Live 0x0000000000000000\nbroken\n";
        let modules = parse_modules(text);
        assert_eq!(modules.len(), 1, "an address of zero is none");
        assert_eq!(modules[0].1, "nf_tables");
        assert_eq!(modules[0].0, 0xffff_ffff_c0a0_0000..0xffff_ffff_c0a5_8000);
    }

    #[test]
    fn what_is_no_code_has_a_reason() {
        let frames = KernelSymbolizer::new().symbolize(&[8, 8]);
        assert_eq!(frames.len(), 2);
        assert!(frames[0].symbol.is_none() && frames[0].missing.is_some());
    }
}
