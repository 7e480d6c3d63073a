//! Programs that read, translate or check the code of the program that they run: a breakpoint in it would hurt that
//! program.
//!
//! valgrind, QEMU and the like execute a translation of the bytes that they find; with a probe's breakpoint among them
//! the program dies of SIGTRAP. They are known by their executable or by a file that they map into the program.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::maps::{Mapping, MappingName};

/// Machines of QEMU's user-space emulators, whose executables are `qemu-MACHINE` or `qemu-MACHINE-static`.
const QEMU_MACHINES: [&str; 37] = [
    "aarch64",
    "aarch64_be",
    "alpha",
    "arm",
    "armeb",
    "cris",
    "hexagon",
    "hppa",
    "i386",
    "loongarch64",
    "m68k",
    "microblaze",
    "microblazeel",
    "mips",
    "mips64",
    "mips64el",
    "mipsel",
    "mipsn32",
    "mipsn32el",
    "nios2",
    "or1k",
    "ppc",
    "ppc64",
    "ppc64le",
    "ppc64abi32",
    "riscv32",
    "riscv64",
    "s390x",
    "sh4",
    "sh4eb",
    "sparc",
    "sparc32plus",
    "sparc64",
    "tilegx",
    "x86_64",
    "xtensa",
    "xtensaeb",
];

/// Executables, by file name.
const EXECUTABLES: [(&str, &str); 7] = [
    ("rr", "rr"),
    ("pinbin", "Pin"),
    ("drrun", "DynamoRIO"),
    ("FEXInterpreter", "FEX"),
    ("FEX", "FEX"),
    ("box64", "box64"),
    ("box86", "box86"),
];

/// Files that are mapped into the program that runs, by the beginning of the file name.
const MAPPED: [(&str, &str); 7] = [
    ("vgpreload_", "valgrind"),
    ("librrpreload", "rr"),
    ("librrpage", "rr"),
    ("rr_page_", "rr"),
    ("libdynamorio", "DynamoRIO"),
    ("libpindwarf", "Pin"),
    ("libpin3", "Pin"),
];

/// The tool that translates the code of the program that runs in a process with these mappings; `None` where the
/// processor runs it, or where the process has ended.
pub fn of(pid: u32, maps: &[Mapping]) -> Option<&'static str> {
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    by_executable(&exe).or_else(|| by_maps(maps))
}

/// The same, by the executable alone.
fn by_executable(exe: &Path) -> Option<&'static str> {
    let name = exe.file_name()?.as_bytes();
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let name = std::str::from_utf8(name).ok()?;
    if is_valgrind(exe, name) {
        return Some("valgrind");
    }
    if let Some(machine) = name.strip_prefix("qemu-") {
        let machine = machine.strip_suffix("-static").unwrap_or(machine);
        return QEMU_MACHINES.contains(&machine).then_some("QEMU");
    }
    let known = EXECUTABLES.into_iter().find(|(known, _)| *known == name);
    known.map(|(_, tool)| tool)
}

/// The same, by what is mapped.
fn by_maps(maps: &[Mapping]) -> Option<&'static str> {
    let files = maps.iter().filter_map(|mapping| match &mapping.name {
        MappingName::File { path, .. } => path.file_name().and_then(OsStr::to_str),
        _ => None,
    });
    files
        .filter_map(|name| MAPPED.iter().find(|(known, _)| name.starts_with(known)))
        .map(|(_, tool)| *tool)
        .next()
}

/// valgrind's tools are executables such as `/usr/libexec/valgrind/memcheck-amd64-linux`.
fn is_valgrind(exe: &Path, name: &str) -> bool {
    let is_tool = name.ends_with("-amd64-linux") || name.ends_with("-x86-linux");
    let folder = exe.parent().and_then(Path::file_name);
    is_tool && folder.is_some_and(|folder| folder.as_bytes().starts_with(b"valgrind"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;

    #[test]
    fn executables_are_known() {
        for (exe, tool) in [
            (
                "/usr/libexec/valgrind/memcheck-amd64-linux",
                Some("valgrind"),
            ),
            (
                "/usr/lib/valgrind/massif-amd64-linux (deleted)",
                Some("valgrind"),
            ),
            ("/home/me/memcheck-amd64-linux", None),
            ("/usr/bin/qemu-aarch64-static", Some("QEMU")),
            ("/usr/bin/qemu-x86_64", Some("QEMU")),
            ("/usr/bin/qemu-system-x86_64", None),
            ("/usr/bin/qemu-img", None),
            ("/usr/bin/rr", Some("rr")),
            ("/usr/sbin/nginx", None),
        ] {
            assert_eq!(by_executable(Path::new(exe)), tool, "{exe}");
        }
    }

    #[test]
    fn mapped_files_are_known() {
        let line = |text: &str| maps::parse_line(text.as_bytes()).expect("a line of maps");
        let preload = line(
            "1000-3000 r-xp 00000000 fe:00 7 /usr/libexec/valgrind/vgpreload_core-amd64-linux.so",
        );
        let libc = line("3000-5000 r-xp 00002000 fe:00 8 /lib/libc.so.6");
        assert_eq!(by_maps(std::slice::from_ref(&libc)), None);
        assert_eq!(by_maps(&[libc, preload]), Some("valgrind"));
    }

    #[test]
    fn an_ordinary_process_is_not_translated() {
        let own = maps::read(std::process::id()).expect("own mappings");
        assert_eq!(of(std::process::id(), &own), None);
    }
}
