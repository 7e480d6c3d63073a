//! Small programs for the tests, which say where they are and then wait.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;
use tracer_common::key::Owner;

pub const PROGRAM: &str = r#"#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
__attribute__((noinline)) void *here(void) { void *p = __builtin_return_address(0); __asm__ volatile("" : "+r"(p)); return p; }
static inline __attribute__((always_inline)) void *inner(void) {
  void *p = here(); /* line 10 */
  __asm__ volatile("" : "+r"(p));
  return p;
}
__attribute__((noinline)) void *outer(void) {
  void *p = inner(); /* line 15 */
  __asm__ volatile("" : "+r"(p));
  return p;
}
static __attribute__((noinline)) void *hidden(void) { void *p = here(); __asm__ volatile("" : "+r"(p)); return p; }
static void say(void *p) { printf("%p\n", p); fflush(stdout); }
int main(int argc, char **argv) {
  const char *mode = argv[1];
  if (!strcmp(mode, "hidden")) say(hidden());
  else if (!strcmp(mode, "jit")) {
    char *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), name[64];
    sprintf(name, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(name, "w");
    fprintf(map, "%lx 40 js:compiled one.js:3\n%lx 4", (long)code, (long)code + 64);
    fclose(map);
    say(code + 5);
  } else if (!strcmp(mode, "dlopen")) {
    void *lib = dlopen(argv[2], RTLD_NOW);
    void *(*f)(void) = (void *(*)(void))dlsym(lib, "in_library");
    say(f());
    getchar();
    dlclose(lib);
    say(0);
  } else if (!strcmp(mode, "later")) {
    say(outer());
    getchar();
    say(((void *(*)(void))dlsym(dlopen(argv[2], RTLD_NOW), "in_library"))());
  } else if (!strcmp(mode, "exec")) {
    say(outer());
    getchar();
    execl(argv[0], argv[0], "hidden", (char *)0);
  } else say(outer());
  getchar();
  return argc == 0;
}
"#;

pub const LIBRARY: &str = "void *in_library(void) { return __builtin_return_address(0) ? __builtin_extract_return_addr((char *)in_library + 4) : 0; }\n";

/// Its functions have names that a demangler takes for types.
pub const SHORT_NAMES: &str = r#"#include <stdio.h>
#define WHERE { void *p; __asm__ volatile("lea (%%rip), %0" : "=r"(p)); return p; }
__attribute__((noinline)) void *re(void) WHERE
__attribute__((noinline)) void *f(void) WHERE
__attribute__((noinline)) void *St(void) WHERE
int main(void) { printf("%p\n%p\n%p\n", re(), f(), St()); fflush(stdout); getchar(); return 0; }
"#;

pub const CPLUSPLUS: &str = r#"#include <cstdio>
namespace space { struct Thing { __attribute__((noinline)) void *where(int) { void *p; asm volatile("lea (%%rip), %0" : "=r"(p)); return p; } }; }
int main() { space::Thing thing; printf("%p\n", thing.where(1)); fflush(stdout); getchar(); }
"#;

/// Compiles a program in the folder.
pub fn build(folder: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let language = if source == CPLUSPLUS { "c++" } else { "c" };
    let text = folder.join(format!("{name}.{language}"));
    std::fs::write(&text, source).expect("write the source");
    let output = folder.join(name);
    let compiler = if source == CPLUSPLUS { "c++" } else { "cc" };
    run(Command::new(compiler)
        .arg("-O2")
        .args(flags)
        .arg("-Wl,--build-id=sha1")
        .arg(&text)
        .arg("-o")
        .arg(&output));
    output
}

pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("run a tool");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// A program that said an address and waits for its input to end. Ends with the test.
pub struct Victim {
    pub child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub address: u64,
}

impl Victim {
    pub fn start(program: &Path, args: &[&str]) -> Victim {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the victim");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut victim = Victim {
            child,
            input,
            output,
            address: 0,
        };
        victim.address = victim.read_address();
        victim
    }

    /// The next address that the victim says; 0 for a null pointer.
    pub fn read_address(&mut self) -> u64 {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the victim speaks");
        let text = line.trim().trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap_or(0)
    }

    pub fn go_on(&mut self) {
        self.input
            .as_mut()
            .expect("piped")
            .write_all(b"\n")
            .expect("the victim listens");
    }

    pub fn owner(&self) -> Owner {
        Owner {
            tgid: self.child.id(),
            image: 1,
        }
    }

    pub fn end(&mut self) {
        self.input = None;
        self.child.wait().expect("the victim ends");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("folder")
}
