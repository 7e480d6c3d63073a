//! Language runtimes: which ones a process has, where their heaps lie, and what they publish without being asked.

pub mod cpython;
pub mod go;
pub mod hotspot;
pub mod hsperf;
pub mod ruby;
pub mod v8;

use std::path::Path;

/// A runtime that is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeKind {
    /// CPython.
    Python,
    /// Node.js, or another program with V8.
    Node,
    /// A Java virtual machine.
    Java,
    /// Go.
    Go,
    /// Ruby.
    Ruby,
    /// .NET.
    Dotnet,
}

impl RuntimeKind {
    /// Its name.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Python => "CPython",
            Self::Node => "V8",
            Self::Java => "JVM",
            Self::Go => "Go",
            Self::Ruby => "Ruby",
            Self::Dotnet => ".NET",
        }
    }

    /// How the process itself would answer, where nothing can be read from outside.
    pub const fn how_to_ask(self) -> &'static str {
        match self {
            Self::Python => "ask in the program: sys._debugmallocstats(), tracemalloc",
            Self::Node => "ask in the program: process.memoryUsage(), v8.getHeapStatistics()",
            Self::Java => {
                "ask it: jcmd PID GC.heap_info, and VM.native_memory if it was started with NMT"
            }
            Self::Go => "ask in the program: runtime.ReadMemStats, or its pprof endpoint",
            Self::Ruby => "ask in the program: GC.stat, ObjectSpace.memsize_of_all",
            Self::Dotnet => "ask it: dotnet-counters, dotnet-gcdump",
        }
    }
}

/// Recognises a runtime by the name of a file that a process executes. Go has none: its programs are their own files.
pub fn by_file(path: &Path) -> Option<RuntimeKind> {
    let name = path.file_name()?.to_str()?;
    let library = |stem: &str| name.starts_with(stem) && name.contains(".so");
    let program = |stem: &str| {
        let rest = name.strip_prefix(stem);
        rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
    };
    if library("libpython") || program("python") {
        Some(RuntimeKind::Python)
    } else if library("libnode") || program("node") || program("nodejs") {
        Some(RuntimeKind::Node)
    } else if name == "libjvm.so" {
        Some(RuntimeKind::Java)
    } else if library("libruby") || program("ruby") {
        Some(RuntimeKind::Ruby)
    } else if name == "libcoreclr.so" {
        Some(RuntimeKind::Dotnet)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_their_files() {
        for (path, kind) in [
            ("/usr/bin/python3.11", Some(RuntimeKind::Python)),
            ("/usr/lib/libpython3.11.so.1.0", Some(RuntimeKind::Python)),
            ("/usr/bin/node", Some(RuntimeKind::Node)),
            ("/usr/lib/libnode.so.108", Some(RuntimeKind::Node)),
            (
                "/usr/lib/jvm/x/lib/server/libjvm.so",
                Some(RuntimeKind::Java),
            ),
            ("/usr/bin/nodemon-like", None),
            ("/usr/bin/pythonic", None),
            ("/usr/lib/libc.so.6", None),
        ] {
            assert_eq!(by_file(Path::new(path)), kind, "{path}");
        }
    }
}
