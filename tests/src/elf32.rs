//! A 32-bit program of 100 bytes, written by hand: no 32-bit compiler is needed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Address that the program is loaded at.
const BASE: u32 = 0x0804_8000;
/// Sizes of the file header and of one program header (ELF-32).
const HEADER: u16 = 52;
const PROGRAM_HEADER: u16 = 32;

/// `mov $29,%eax; int $0x80; jmp` back to the start: pause() for ever.
const CODE: [u8; 9] = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];

/// Writes an i386 executable that waits for ever.
pub fn write(path: &Path) -> Result<()> {
    std::fs::write(path, bytes())
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn bytes() -> Vec<u8> {
    let code_at = u32::from(HEADER + PROGRAM_HEADER);
    let size = code_at + CODE.len() as u32;
    // ELFCLASS32, little endian, version 1.
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    // ET_EXEC, EM_386.
    half(&mut file, &[2, 3]);
    // Version, entry, program headers, section headers, flags.
    word(&mut file, &[1, BASE + code_at, u32::from(HEADER), 0, 0]);
    half(&mut file, &[HEADER, PROGRAM_HEADER, 1, 0, 0, 0]);
    // PT_LOAD: offset, address twice, sizes, readable and executable, alignment.
    word(&mut file, &[1, 0, BASE, BASE, size, size, 5, 0x1000]);
    file.extend(CODE);
    file
}

fn half(file: &mut Vec<u8>, values: &[u16]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn word(file: &mut Vec<u8>, values: &[u32]) {
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::child::{Owned, until};

    /// The kernel runs it, and it stays.
    #[test]
    fn it_runs() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("tiny32");
        write(&path).expect("the program can be written");
        let mut child = Owned::start(&mut std::process::Command::new(&path))
            .expect("the kernel runs 32-bit programs (CONFIG_IA32_EMULATION)");
        let stat = format!("/proc/{}/stat", child.pid());
        until("it waits", Duration::from_secs(5), || {
            Ok(std::fs::read_to_string(&stat)?
                .contains(") S ")
                .then_some(()))
        })
        .expect("it goes on until it waits");
        assert_eq!(child.ended().expect("a child can be waited for"), None);
    }
}
