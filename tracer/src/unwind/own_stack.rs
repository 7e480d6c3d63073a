//! The test's own stack, in a call chain built without frame pointers, walked by the tables of its own files
//! and compared with the addresses that the callees saw and with the unwinder of the C++ runtime.

use std::ffi::{CString, c_int, c_ulong, c_void};
use std::io::IoSliceMut;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use tracer_common::stack::{End, Memory, Registers};
use tracer_common::unwind::{Position, Rule};

use super::*;
use crate::process::maps::{self, FileId};

/// Frames of every shape that compilers make. Each notes where it returns to, innermost last.
const CHAIN: &str = r#"
#define _GNU_SOURCE
#include <alloca.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
struct capture { unsigned long ip, sp, bp; long known_count, returns_count; void *known[64], *returns[16]; };
static struct capture c;
static void (*seen)(struct capture *, void *);
static void *argument;
#define NOTE() (c.returns[c.returns_count++] = __builtin_return_address(0))
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")
__attribute__((noinline)) static void capture(void) {
  NOTE();
  c.known_count = backtrace(c.known, 64);
  __asm__ volatile("lea 0(%%rip), %0\n mov %%rsp, %1\n mov %%rbp, %2" : "=r"(c.ip), "=r"(c.sp), "=&r"(c.bp));
  seen(&c, argument);
  KEEP(&c);
}
__attribute__((noinline)) static void plain(int n) { char room[1000]; NOTE(); KEEP(room); capture(); KEEP(&n); }
__attribute__((noinline)) static void variable(int n) { char *room = alloca(n * 100); NOTE(); KEEP(room); plain(n); KEEP(room); }
__attribute__((noinline)) static void aligned(int n) { char room[256] __attribute__((aligned(64))); NOTE(); KEEP(room); variable(n); KEEP(room); }
__attribute__((noinline)) static void realigned(int a, int b, int d, int e, int f, int g, int h, int i) {
  char room[256] __attribute__((aligned(64))), *more = alloca(a); NOTE(); KEEP(room); KEEP(more); aligned(a + i); KEEP(room); KEEP(&i);
}
__attribute__((noinline)) static void busy(int n) { /* the frame pointer is a register like any other */
  register long v __asm__("rbp") = n * 3 + 1; __asm__ volatile("" : "+r"(v)); NOTE(); realigned(n, 2, 3, 4, 5, 6, 7, 8); __asm__ volatile("" : "+r"(v));
}
static void handler(int number) { NOTE(); busy(number); KEEP(&c); }
__attribute__((noinline)) static void signalled(void) {
  static char room[1 << 17];
  stack_t mine = { .ss_sp = room, .ss_size = sizeof room }, before;
  struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK }, old;
  sigaltstack(&mine, &before);
  sigaction(SIGUSR2, &action, &old);
  pthread_kill(pthread_self(), SIGUSR2);
  sigaction(SIGUSR2, &old, 0);
  sigaltstack(&before, 0);
}
void run(int by_signal, void (*callback)(struct capture *, void *), void *with) {
  void *warm[2];
  backtrace(warm, 2);
  memset(&c, 0, sizeof c);
  seen = callback;
  argument = with;
  if (by_signal) signalled(); else busy(5);
  KEEP(&c);
}
"#;

/// As in the source above.
#[repr(C)]
struct Capture {
    registers: [c_ulong; 3],
    known_count: i64,
    returns_count: i64,
    known: [u64; 64],
    returns: [u64; 16],
}

type Callback = extern "C" fn(*const Capture, *mut c_void);
type Run = unsafe extern "C" fn(c_int, Callback, *mut c_void);

/// What one walk saw.
#[derive(Default)]
struct Seen {
    frames: Vec<u64>,
    end: Option<End>,
    /// By the C++ runtime.
    known: Vec<u64>,
    /// By the callees, innermost first.
    returns: Vec<u64>,
}

/// This process's memory, by a system call that fails where nothing is mapped.
struct OwnMemory;

fn read_own(address: u64, into: &mut [u8]) -> Option<()> {
    let remote = RemoteIoVec {
        base: address as usize,
        len: into.len(),
    };
    let wanted = into.len();
    let read = process_vm_readv(Pid::this(), &mut [IoSliceMut::new(into)], &[remote]);
    (read == Ok(wanted)).then_some(())
}

impl Memory for OwnMemory {
    fn read(&mut self, addr: u64) -> Option<u64> {
        let mut word = [0; 8];
        read_own(addr, &mut word)?;
        Some(u64::from_ne_bytes(word))
    }
}

/// Tables of all files that this process has mapped.
fn own_tables() -> Arrays {
    let maps = maps::read(std::process::id()).expect("own maps");
    let mut tables: Vec<(FileId, Table)> = Vec::new();
    for mapping in maps.iter().filter(|mapping| mapping.execute) {
        let image = match mapping.label() {
            _ if tables.iter().any(|(file, _)| *file == mapping.file) => continue,
            Some(path) if path == Path::new("[vdso]") => {
                let mut image = vec![0; (mapping.end - mapping.start) as usize];
                read_own(mapping.start, &mut image).expect("the vdso is readable");
                image
            }
            Some(path) if mapping.file.inode != 0 => std::fs::read(path).expect("a mapped file"),
            _ => continue,
        };
        tables.push((mapping.file, build(&image).expect("a table")));
    }
    let mut arrays = Arrays::default();
    let stored: Vec<(FileId, Code<'_>)> = tables
        .iter()
        .map(|(file, table)| (*file, arrays.store(table)))
        .collect();
    arrays.mappings = mappings(&maps, |mapping| {
        let known = stored.iter().find(|(file, _)| *file == mapping.file);
        known.map_or(Code::Uniform(Rule::NO_TABLE), |(_, code)| *code)
    });
    arrays
}

extern "C" fn on_capture(capture: *const Capture, argument: *mut c_void) {
    // SAFETY: the library hands its own structure and the argument of `run`, both live during the call.
    let (capture, (arrays, seen)) = unsafe { (&*capture, &mut *argument.cast::<(Arrays, Seen)>()) };
    let [ip, sp, bp] = capture.registers;
    let registers = Registers { ip, sp, bp };
    let (frames, end) = walk(
        registers,
        Position::INSTRUCTION,
        arrays,
        &mut OwnMemory,
        127,
    );
    *seen = Seen {
        frames,
        end: Some(end),
        known: capture.known[..capture.known_count as usize].to_vec(),
        returns: capture.returns[..capture.returns_count as usize].to_vec(),
    };
    seen.returns.reverse();
}

fn library(folder: &Path) -> *mut c_void {
    let (source, output) = (folder.join("chain.c"), folder.join("chain.so"));
    std::fs::write(&source, CHAIN).expect("write the source");
    let status = std::process::Command::new("cc")
        .args(["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"])
        .args(["-shared", "-fPIC"])
        .arg(&source)
        .arg("-o")
        .arg(&output)
        .status()
        .expect("run cc");
    assert!(status.success());
    let path = CString::new(output.as_os_str().as_bytes()).expect("no zero byte");
    // SAFETY: the path ends with a zero byte; the library has no initializers.
    let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!library.is_null(), "loaded");
    library
}

fn run(by_signal: bool) -> Seen {
    // The library keeps one capture, and the signal's action is the process's.
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock();
    let folder = tempfile::tempdir().expect("temporary folder");
    let library = library(folder.path());
    let mut argument = (own_tables(), Seen::default());
    // SAFETY: the library exports `run` with this signature, and calls back before it returns.
    unsafe {
        let symbol = libc::dlsym(library, c"run".as_ptr());
        assert!(!symbol.is_null(), "found");
        let run = std::mem::transmute::<*mut c_void, Run>(symbol);
        run(by_signal.into(), on_capture, (&raw mut argument).cast());
        libc::dlclose(library);
    }
    argument.1
}

/// Down to the thread's start, whose return address is undefined.
#[test]
fn a_chain_without_frame_pointers_is_found_whole() {
    let seen = run(false);
    assert_eq!(seen.end, Some(End::Complete));
    assert_eq!(seen.returns.len(), 6, "frames of the library");
    assert_eq!(seen.frames[1..7], seen.returns, "against the callees");
    assert!(seen.known.len() > 10, "the thread's own frames");
    assert_eq!(seen.frames[1..], seen.known[1..], "against the C++ runtime");
}

/// From the handler's stack back to the thread's.
#[test]
fn a_handler_on_its_own_stack_is_walked_through() {
    let seen = run(true);
    assert_eq!(seen.end, Some(End::Complete));
    assert_eq!(seen.frames[1..8], seen.returns, "against the callees");
    assert!(seen.known.len() > 14, "beyond the handler");
    assert_eq!(seen.frames[1..], seen.known[1..], "against the C++ runtime");
}
