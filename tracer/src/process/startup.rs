//! Which files a command will map when it starts, so that probes can be in place before it runs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{AccessFlags, eaccess};
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{LittleEndian, ReadCache, ReadRef};

/// Scripts that name scripts as their interpreter: the kernel follows four (`exec_binprm` in fs/exec.c).
const MAX_SCRIPTS: usize = 4;
/// Bytes of the first line that the kernel looks at (`BINPRM_BUF_SIZE`).
const FIRST_LINE_BYTES: u64 = 256;

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {}: {}", command.display(), plain(.source))]
pub struct CommandError {
    /// The command as the user wrote it, or the interpreter that it needs.
    pub command: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// An error in the words of `strerror`, without Rust's "(os error 2)", in lower case.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

/// Files that the kernel and the dynamic loader map to start a command: executable, loader, libraries. For a script
/// those of its interpreter (through `env`, both of `env` and of the program that it runs).
///
/// The dynamic loader itself is asked, as `ldd` does, with this process's environment; the program does not run.
/// Libraries that the program loads later by itself are not among them.
pub fn startup_files(argv: &[OsString]) -> Result<Vec<PathBuf>, CommandError> {
    let Some(command) = argv.first() else {
        return Err(error_of("", io::Error::from_raw_os_error(libc::ENOENT)));
    };
    let mut files = Vec::new();
    for program in programs(command)? {
        let interpreter = interpreter_of(&program).map_err(|error| error_of(&program, error))?;
        push_new(&mut files, program.clone());
        if let Some(loader) = interpreter {
            let listed = libraries(&loader, &program).map_err(|error| error_of(&loader, error))?;
            push_new(&mut files, loader);
            listed
                .into_iter()
                .for_each(|library| push_new(&mut files, library));
        }
    }
    Ok(files)
}

/// Finds a command as `execvp` does: by itself where it has a slash, else along PATH.
pub fn find_command(command: &OsStr) -> Result<PathBuf, CommandError> {
    if command.is_empty() {
        return Err(error_of("", io::Error::from_raw_os_error(libc::ENOENT)));
    }
    if command.as_bytes().contains(&b'/') {
        return runnable(Path::new(command)).map_err(|error| error_of(command, error));
    }
    // What glibc searches where PATH is unset (`confstr(_CS_PATH)`).
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut failure = io::Error::from_raw_os_error(libc::ENOENT);
    for folder in std::env::split_paths(&path) {
        // An empty entry is the current folder.
        let folder = if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        };
        match runnable(&folder.join(command)) {
            Ok(found) => return Ok(found),
            // A folder of PATH that may not be entered holds no command for this user.
            Err(error) if folder.join(command).exists() => failure = error,
            Err(_) => {}
        }
    }
    Err(error_of(command, failure))
}

fn error_of(command: impl AsRef<Path>, source: io::Error) -> CommandError {
    CommandError {
        command: command.as_ref().into(),
        source,
    }
}

/// Makes sure that this process may execute the file.
fn runnable(path: &Path) -> io::Result<PathBuf> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    eaccess(path, AccessFlags::X_OK)?;
    Ok(path.into())
}

fn push_new(files: &mut Vec<PathBuf>, file: PathBuf) {
    if !files.contains(&file) {
        files.push(file);
    }
}

/// The ELF executables that a command runs one after the other: one, but for a script that starts through `env`.
fn programs(command: &OsStr) -> Result<Vec<PathBuf>, CommandError> {
    let mut programs = Vec::new();
    let mut path = find_command(command)?;
    for _ in 0..=MAX_SCRIPTS {
        match script_line(&first_bytes(&path).map_err(|error| error_of(&path, error))?) {
            Content::Executable => {
                programs.push(path);
                return Ok(programs);
            }
            Content::Text => path = PathBuf::from("/bin/sh"),
            Content::Script {
                interpreter,
                argument,
            } => {
                let by_env = env_program(&interpreter, &argument);
                path = find_command(interpreter.as_os_str())?;
                if let Some(program) = by_env {
                    programs.push(path);
                    path = find_command(&program)?;
                }
            }
        }
    }
    Err(error_of(command, io::Error::from_raw_os_error(libc::ELOOP)))
}

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FIRST_LINE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file that is to be executed begins with.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// An ELF header.
    Executable,
    /// `#!`.
    Script {
        interpreter: PathBuf,
        argument: Vec<u8>,
    },
    /// Neither: `execvp` hands it to the shell.
    Text,
}

fn script_line(bytes: &[u8]) -> Content {
    if bytes.starts_with(b"\x7fELF") {
        return Content::Executable;
    }
    let Some(rest) = bytes.strip_prefix(b"#!") else {
        return Content::Text;
    };
    let line = rest
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let mut words = line.splitn(2, |byte| matches!(byte, b' ' | b'\t'));
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next().unwrap_or_default()));
    let argument = words.next().unwrap_or_default().trim_ascii().to_vec();
    Content::Script {
        interpreter,
        argument,
    }
}

/// The program that `env` runs next, for `#!/usr/bin/env NAME` and `#!/usr/bin/env -S NAME ARGS`.
fn env_program(interpreter: &Path, argument: &[u8]) -> Option<OsString> {
    if interpreter.file_name() != Some(OsStr::new("env")) {
        return None;
    }
    argument
        .split(u8::is_ascii_whitespace)
        .find(|word| !word.is_empty() && !word.starts_with(b"-") && !word.contains(&b'='))
        .map(|word| OsStr::from_bytes(word).into())
}

/// The dynamic loader that an ELF executable asks for; `None` for a static one.
fn interpreter_of(path: &Path) -> io::Result<Option<PathBuf>> {
    let cache = ReadCache::new(File::open(path)?);
    let not_elf = |_| io::Error::from_raw_os_error(libc::ENOEXEC);
    let header = FileHeader64::<LittleEndian>::parse(&cache).map_err(not_elf)?;
    let endian = header.endian().map_err(not_elf)?;
    let segments = header.program_headers(endian, &cache).map_err(not_elf)?;
    let Some(segment) = segments.iter().find(|s| s.p_type(endian) == PT_INTERP) else {
        return Ok(None);
    };
    let (offset, size) = segment.file_range(endian);
    let bytes = (&cache)
        .read_bytes_at(offset, size)
        .map_err(|()| io::Error::from_raw_os_error(libc::ENOEXEC))?;
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Some(OsStr::from_bytes(name).into()))
}

/// Asks the dynamic loader which libraries it would map for a program.
fn libraries(loader: &Path, program: &Path) -> io::Result<Vec<PathBuf>> {
    // Without a slash the loader would search its library path for the program.
    let program = std::path::absolute(program)?;
    let output = Command::new(loader)
        .arg("--list")
        .arg(program)
        .stdin(Stdio::null())
        .output()?;
    // The exit status is left aside: musl fails for a program that lacks a symbol, having listed all the same.
    Ok(parse_loader_list(&output.stdout))
}

/// Parses what `ld.so --list` prints (glibc and musl): `name => path (address)`, or `path (address)`.
pub fn parse_loader_list(text: &[u8]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(end) = line.windows(4).rposition(|window| window == b" (0x") else {
            continue;
        };
        let entry = line[..end].trim_ascii();
        let arrow = entry.windows(4).position(|window| window == b" => ");
        let path = arrow.map_or(entry, |at| &entry[at + 4..]);
        // The vDSO has a name without a slash.
        if path.contains(&b'/') {
            push_new(&mut files, OsStr::from_bytes(path).into());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn reads_what_glibc_prints() {
        let text = b"\tlinux-vdso.so.1 (0x00007f9da689e000)
\t/usr/lib/x86_64-linux-gnu/libjemalloc.so.2 (0x00007f9da6400000)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f9da67ad000)
\tlibmissing.so.1 => not found
\tlibc.so.6 => /lib/my libs/libc.so.6 (0x00007f9da621e000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f9da68a0000)
";
        let expected = [
            "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/lib/my libs/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(parse_loader_list(text), expected.map(PathBuf::from));
    }

    #[test]
    fn reads_what_musl_prints() {
        let text = b"\t/lib/ld-musl-x86_64.so.1 (0x7fdf96055000)
\t/lib/x86_64-linux-gnu/libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x7fdf96029000)
\tlibc.so => /lib/ld-musl-x86_64.so.1 (0x7fdf96055000)
";
        let expected = [
            "/lib/ld-musl-x86_64.so.1",
            "/lib/x86_64-linux-gnu/libz.so.1",
        ];
        assert_eq!(parse_loader_list(text), expected.map(PathBuf::from));
    }

    #[test]
    fn reads_the_first_line_of_a_script() {
        let script = |line: &str| match script_line(line.as_bytes()) {
            Content::Script {
                interpreter,
                argument,
            } => {
                let env = env_program(&interpreter, &argument);
                (
                    interpreter.display().to_string(),
                    env.map(|e| e.display().to_string()),
                )
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(script("#!/bin/sh\nx"), ("/bin/sh".into(), None));
        assert_eq!(script("#! /bin/sh -e \nx"), ("/bin/sh".into(), None));
        assert_eq!(
            script("#!/usr/bin/env python3\n").1.as_deref(),
            Some("python3")
        );
        assert_eq!(
            script("#!/usr/bin/env -S A=1 python3 -u\n").1.as_deref(),
            Some("python3")
        );
        assert_eq!(script_line(b"\x7fELF\x02"), Content::Executable);
        assert_eq!(script_line(b"echo"), Content::Text);
    }

    #[test]
    fn lists_executable_loader_and_libraries() {
        let files = startup_files(&["sh".into()]).expect("sh exists");
        assert!(files[0].ends_with("sh"), "{files:?}");
        let has = |part: &str| files.iter().any(|f| f.to_string_lossy().contains(part));
        assert!(has("ld-linux") && has("libc.so"), "{files:?}");
    }

    #[test]
    fn a_script_stands_for_its_interpreter() {
        let folder = tempfile::tempdir().expect("folder");
        let script = folder.path().join("script");
        let mut file = File::create(&script).expect("create");
        file.write_all(b"#!/usr/bin/env sh\nexit 0\n")
            .expect("write");
        file.set_permissions(PermissionsExt::from_mode(0o755))
            .expect("chmod");
        drop(file);
        let files = startup_files(&[script.clone().into()]).expect("a script");
        assert!(
            files[0].ends_with("env") && !files.contains(&script),
            "{files:?}"
        );
        assert!(files.iter().any(|f| f.ends_with("sh")), "{files:?}");
    }

    #[test]
    fn what_cannot_run_says_so_in_one_line() {
        let error = startup_files(&["no-such-command-here".into()]).expect_err("no such");
        assert_eq!(
            error.to_string(),
            "cannot run no-such-command-here: no such file or directory"
        );
        let error = startup_files(&["/etc/passwd".into()]).expect_err("not executable");
        assert_eq!(
            error.to_string(),
            "cannot run /etc/passwd: permission denied"
        );
    }
}
