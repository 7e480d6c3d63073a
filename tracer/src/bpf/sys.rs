//! Raw bpf(2): the commands that aya 0.14 does not offer, each as one function.

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_map_info, bpf_map_type, bpf_prog_info,
    bpf_prog_type,
};
use nix::time::{ClockId, clock_getres};

/// Attributes of which nothing is set.
fn attributes() -> bpf_attr {
    // SAFETY: numbers, for which zero is a value.
    unsafe { std::mem::zeroed() }
}

/// One `bpf(2)` call.
///
/// # Safety
///
/// What the attributes of `command` point to must be as it says there, and must live until the call returns.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    let size = size_of::<bpf_attr>();
    // SAFETY: as the caller promises; the kernel reads `size` bytes and may write back into them. An older kernel
    // wants what it does not know to be zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_uint, attr, size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Length of the kernel's tick in nanoseconds: the resolution of its coarse clocks (kernel/time/posix-timers.c,
/// posix_get_coarse_res).
pub fn tick_ns() -> u64 {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map(Duration::from);
    tick.map_or(0, |tick| tick.as_nanos() as u64)
}

/// Takes the file descriptor that a command returned.
fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us (with O_CLOEXEC), and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Instructions that the verifier has walked through for a loaded program; 0 before Linux 5.16, which does not tell.
pub fn verified_instructions(program: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(program_info(program)?.verified_insns)
}

/// How often a loaded program was not run because it was running on that CPU already.
pub fn passed_over(program: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(program_info(program)?.recursion_misses)
}

fn program_info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: plain numbers, for which zero is a value; it asks the kernel for nothing of variable length.
    unsafe { info(program) }
}

/// What the kernel knows of a map.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<bpf_map_info> {
    // SAFETY: plain numbers, for which zero is a value.
    unsafe { info(map) }
}

/// What the kernel knows of a map or a program.
///
/// # Safety
///
/// `T` must be the kernel's structure for this kind, for which zero is a value that asks for nothing more.
unsafe fn info<T>(of: BorrowedFd<'_>) -> io::Result<T> {
    // SAFETY: as the caller promises.
    let mut info: T = unsafe { std::mem::zeroed() };
    let mut attr = attributes();
    attr.info.bpf_fd = of.as_raw_fd() as u32;
    attr.info.info_len = size_of::<T>() as u32;
    attr.info.info = (&raw mut info) as u64;
    // SAFETY: `info` has `info_len` bytes and outlives the call.
    unsafe { bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// Function records of a program, as its BTF describes them.
pub struct FunctionInfo<'a> {
    /// The loaded BTF.
    pub btf: BorrowedFd<'a>,
    /// Bytes of one record.
    pub record_size: u32,
    /// The records.
    pub records: &'a [u8],
}

/// Room for the verifier's log.
const LOG_SIZE: usize = 4 << 20;

/// `BPF_TRACE_UPROBE_SESSION` (Linux 6.13).
const UPROBE_SESSION: u32 = 57;

/// What kind of link a probe program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One program at entries, or at returns.
    Multi,
    /// One program at an entry and at the return that belongs to it.
    Session,
}

impl LinkKind {
    const fn attach_type(self) -> u32 {
        match self {
            Self::Multi => bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32,
            Self::Session => UPROBE_SESSION,
        }
    }
}

/// Loads a probe program that is to be attached through a link to several places. The error carries the verifier's log
/// if `with_log`.
pub fn load_uprobe_multi(
    kind: LinkKind,
    name: &str,
    license: &CStr,
    instructions: &[bpf_insn],
    functions: &FunctionInfo<'_>,
    with_log: bool,
) -> io::Result<OwnedFd> {
    let mut log = vec![0u8; if with_log { LOG_SIZE } else { 0 }];
    let mut attr = attributes();
    // SAFETY: numbers, all of which are set.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
    load.insn_cnt = instructions.len() as u32;
    load.insns = instructions.as_ptr() as u64;
    load.license = license.as_ptr() as u64;
    for (to, from) in load.prog_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from as c_char;
    }
    if with_log {
        load.log_level = 1;
        load.log_size = log.len() as u32;
        load.log_buf = log.as_mut_ptr() as u64;
    }
    load.expected_attach_type = kind.attach_type();
    load.prog_btf_fd = functions.btf.as_raw_fd() as u32;
    load.func_info_rec_size = functions.record_size;
    load.func_info = functions.records.as_ptr() as u64;
    load.func_info_cnt = (functions.records.len() / functions.record_size.max(1) as usize) as u32;
    // SAFETY: the slices behind its pointers outlive the call.
    match unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr) } {
        Ok(fd) => Ok(owned(fd)),
        Err(error) if with_log => {
            let text = String::from_utf8_lossy(&log);
            Err(io::Error::new(
                error.kind(),
                format!("{error}\n{}", text.trim_end_matches('\0')),
            ))
        }
        Err(error) => Err(error),
    }
}

/// Loads type information.
pub fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = attributes();
    attr.__bindgen_anon_7.btf = btf.as_ptr() as u64;
    attr.__bindgen_anon_7.btf_size = btf.len() as u32;
    // SAFETY: `btf` outlives the call.
    let fd = unsafe { bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr) }?;
    Ok(owned(fd))
}

/// `BPF_F_UPROBE_MULTI_RETURN`.
const MULTI_RETURN: u32 = 1;

/// Attaches a program to several places of one file, for one process or, with `pid` 0, for all.
///
/// `offsets` are file offsets; `cookies` has one entry for each of them.
pub fn link_uprobe_multi(
    kind: LinkKind,
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
    at_return: bool,
    pid: u32,
) -> io::Result<OwnedFd> {
    assert_eq!(offsets.len(), cookies.len(), "one cookie for each offset");
    let mut attr = attributes();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.attach_type = kind.attach_type();
    // SAFETY: numbers, all of which are set.
    let places = unsafe { &mut attr.link_create.__bindgen_anon_3.uprobe_multi };
    places.path = path.as_ptr() as u64;
    places.offsets = offsets.as_ptr() as u64;
    places.cookies = cookies.as_ptr() as u64;
    places.cnt = offsets.len() as u32;
    places.flags = if at_return { MULTI_RETURN } else { 0 };
    places.pid = pid;
    // SAFETY: what it points to outlives the call; `offsets` and `cookies` have `cnt` elements.
    let fd = unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) }?;
    Ok(owned(fd))
}

/// Attaches an iterator over tasks to all threads of one process (`bpf_iter_link_info.task`, Linux 6.1).
pub fn link_iterator(program: BorrowedFd<'_>, pid: u32) -> io::Result<OwnedFd> {
    // `tid`, `pid`, `pid_fd` of `union bpf_iter_link_info` (include/uapi/linux/bpf.h).
    let which = [0, pid, 0, 0];
    let mut attr = attributes();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    attr.link_create.__bindgen_anon_3.__bindgen_anon_1.iter_info = which.as_ptr() as u64;
    attr.link_create
        .__bindgen_anon_3
        .__bindgen_anon_1
        .iter_info_len = size_of_val(&which) as u32;
    // SAFETY: `which` has `iter_info_len` bytes and outlives the call.
    let fd = unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) }?;
    Ok(owned(fd))
}

/// A file that runs an iterator once when it is read.
pub fn iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = attributes();
    attr.iter_create.link_fd = link.as_raw_fd() as u32;
    // SAFETY: it holds no pointers.
    let fd = unsafe { bpf(bpf_cmd::BPF_ITER_CREATE, &mut attr) }?;
    Ok(owned(fd))
}

/// `BPF_F_MMAPABLE`: the array can be mapped.
pub const MMAPABLE: u32 = 1 << 10;

/// Makes an array of one element; `inner` is what a map of maps is to hold.
pub fn create_array(
    kind: bpf_map_type,
    value_size: u32,
    flags: u32,
    inner: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let mut attr = attributes();
    // SAFETY: numbers, all of which are set.
    let create = unsafe { &mut attr.__bindgen_anon_1 };
    create.map_type = kind as u32;
    create.key_size = 4;
    create.value_size = value_size;
    create.max_entries = 1;
    create.map_flags = flags;
    create.inner_map_fd = inner.map_or(0, |map| map.as_raw_fd() as u32);
    // SAFETY: they hold no pointers.
    Ok(owned(unsafe { bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr) }?))
}

/// Puts a map or a program into a place of an array of such. For a map of maps it waits until no program can use what
/// was there.
pub fn put(array: BorrowedFd<'_>, index: u32, held: BorrowedFd<'_>) -> io::Result<()> {
    let value = held.as_raw_fd();
    let mut attr = attributes();
    attr.__bindgen_anon_2.map_fd = array.as_raw_fd() as u32;
    attr.__bindgen_anon_2.key = &raw const index as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = &raw const value as u64;
    // SAFETY: key and value have the 4 bytes of such an array, and outlive the call.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Puts maps into an array of maps, from one place on; waits once, where the kernel can do so (since 5.19).
pub fn put_all(array: BorrowedFd<'_>, first: u32, held: &[BorrowedFd<'_>]) -> io::Result<()> {
    let keys: Vec<u32> = (first..).take(held.len()).collect();
    let values: Vec<i32> = held.iter().map(AsRawFd::as_raw_fd).collect();
    let mut attr = attributes();
    attr.batch.keys = keys.as_ptr() as u64;
    attr.batch.values = values.as_ptr() as u64;
    attr.batch.count = keys.len() as u32;
    attr.batch.map_fd = array.as_raw_fd() as u32;
    // SAFETY: both have `count` elements of the 4 bytes of such an array.
    match unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attr) } {
        Ok(_) => Ok(()),
        // Older kernels know no batches for such arrays, and say so in different ways.
        Err(_) => (first..)
            .zip(held)
            .try_for_each(|(index, held)| put(array, index, *held)),
    }
}

/// Where a batched walk through a hash map stands.
#[derive(Default)]
pub struct BatchCursor {
    position: u32,
    started: bool,
}

/// Result of one step of a batched walk.
pub struct BatchStep {
    /// Elements read.
    pub count: usize,
    /// The walk has reached its end.
    pub done: bool,
}

/// Reads the next elements of a hash map, whole buckets at a time, so that no element is seen twice because another
/// one was removed meanwhile (kernel/bpf/hashtab.c, __htab_map_lookup_and_delete_batch).
///
/// # Safety
///
/// `K` and `V` must be the map's key and value types, valid for every bit pattern.
pub unsafe fn lookup_batch<K, V>(
    map: BorrowedFd<'_>,
    cursor: &mut BatchCursor,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<BatchStep> {
    let mut next = 0u32;
    let mut attr = attributes();
    if cursor.started {
        attr.batch.in_batch = &raw const cursor.position as u64;
    }
    attr.batch.out_batch = &raw mut next as u64;
    attr.batch.keys = keys.as_mut_ptr() as u64;
    attr.batch.values = values.as_mut_ptr() as u64;
    attr.batch.count = keys.len().min(values.len()) as u32;
    attr.batch.map_fd = map.as_raw_fd() as u32;
    // SAFETY: the slices have room for `count` elements of the map's own types.
    let result = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
    let done = match result {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    cursor.position = next;
    cursor.started = true;
    Ok(BatchStep {
        // SAFETY: a number.
        count: unsafe { attr.batch.count } as usize,
        done,
    })
}

/// Removes elements from a hash map; absent ones are passed over.
///
/// # Safety
///
/// `K` must be the map's key type.
pub unsafe fn delete_batch<K>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    let mut done = 0;
    while done < keys.len() {
        let mut attr = attributes();
        attr.batch.keys = keys[done..].as_ptr() as u64;
        attr.batch.count = (keys.len() - done) as u32;
        attr.batch.map_fd = map.as_raw_fd() as u32;
        // SAFETY: the slice has `count` keys of the map's key type.
        match unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_BATCH, &mut attr) } {
            Ok(_) => return Ok(()),
            // `count` comes back as the number removed before the absent one.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                // SAFETY: a number.
                done += unsafe { attr.batch.count } as usize + 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
