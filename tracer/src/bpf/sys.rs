//! Raw bpf(2): the commands that aya 0.14 does not offer, each as one function.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use aya_obj::generated::{
    bpf_attach_type, bpf_cmd, bpf_insn, bpf_map_type, bpf_prog_info, bpf_prog_type,
};

/// One `bpf(2)` call.
///
/// # Safety
///
/// `attr` must be the zero-padded attribute structure of `command`, and what it points to must live until the
/// call returns.
unsafe fn bpf<T>(command: bpf_cmd, attr: &mut T) -> io::Result<i64> {
    // SAFETY: as the caller promises; the kernel reads `size_of::<T>()` bytes and may write back into them.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_uint, attr, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Takes the file descriptor that a command returned.
fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us (with O_CLOEXEC), and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// Attributes of `BPF_PROG_LOAD` (include/uapi/linux/bpf.h), as far as they are used.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// Attributes of `BPF_OBJ_GET_INFO_BY_FD` (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct ObjectInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
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
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = ObjectInfo {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<bpf_prog_info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the attributes of this command; `info` has `info_len` bytes and outlives the call.
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
    let mut prog_name = [0; 16];
    for (to, from) in prog_name.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    let mut attr = ProgLoad {
        prog_type: bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name,
        log_level: u32::from(with_log),
        log_size: log.len() as u32,
        log_buf: if with_log { log.as_mut_ptr() as u64 } else { 0 },
        expected_attach_type: kind.attach_type(),
        prog_btf_fd: functions.btf.as_raw_fd() as u32,
        func_info_rec_size: functions.record_size,
        func_info: functions.records.as_ptr() as u64,
        func_info_cnt: (functions.records.len() / functions.record_size.max(1) as usize) as u32,
        ..ProgLoad::default()
    };
    // SAFETY: the right structure, and the slices behind its pointers outlive the call.
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

/// Attributes of `BPF_BTF_LOAD`.
#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
    btf_log_level: u32,
    reserved: u32,
}

/// Loads type information.
pub fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attr = BtfLoad {
        btf: btf.as_ptr() as u64,
        btf_size: btf.len() as u32,
        ..BtfLoad::default()
    };
    // SAFETY: the right structure, and `btf` outlives the call.
    let fd = unsafe { bpf(bpf_cmd::BPF_BTF_LOAD, &mut attr) }?;
    Ok(owned(fd))
}

/// Attributes of `BPF_LINK_CREATE` for `BPF_TRACE_UPROBE_MULTI` (kernel 6.6).
#[repr(C)]
#[derive(Default)]
struct LinkCreateUprobeMulti {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    reserved: u32,
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
    let mut attr = LinkCreateUprobeMulti {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: kind.attach_type(),
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        count: offsets.len() as u32,
        multi_flags: if at_return { MULTI_RETURN } else { 0 },
        pid,
        ..LinkCreateUprobeMulti::default()
    };
    // SAFETY: the right structure, padding zero, and what it points to outlives the call.
    let fd = unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr) }?;
    Ok(owned(fd))
}

/// Attributes of the batch commands on maps.
#[repr(C)]
#[derive(Default)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Attributes of `BPF_MAP_CREATE` (include/uapi/linux/bpf.h), as far as they are used.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// Makes an array of one element; `inner` is what a map of maps is to hold.
pub fn create_array(
    kind: bpf_map_type,
    value_size: u32,
    inner: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        map_type: kind as u32,
        key_size: 4,
        value_size,
        max_entries: 1,
        inner_map_fd: inner.map_or(0, |map| map.as_raw_fd() as u32),
        ..MapCreate::default()
    };
    // SAFETY: the attributes of this command, which holds no pointers.
    Ok(owned(unsafe { bpf(bpf_cmd::BPF_MAP_CREATE, &mut attr) }?))
}

/// Attributes of `BPF_MAP_UPDATE_ELEM` (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Puts a map or a program into the first place of an array of such.
pub fn put_first(array: BorrowedFd<'_>, held: BorrowedFd<'_>) -> io::Result<()> {
    let (key, value) = (0u32, held.as_raw_fd());
    let mut attr = MapElement {
        map_fd: array.as_raw_fd() as u32,
        key: &raw const key as u64,
        value: &raw const value as u64,
        ..MapElement::default()
    };
    // SAFETY: the attributes of this command; key and value have the 4 bytes of such an array, and outlive the call.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
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
pub unsafe fn lookup_batch<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    cursor: &mut BatchCursor,
    keys: &mut [std::mem::MaybeUninit<K>],
    values: &mut [std::mem::MaybeUninit<V>],
) -> io::Result<BatchStep> {
    let mut next = 0u32;
    let mut attr = MapBatch {
        in_batch: if cursor.started {
            &raw const cursor.position as u64
        } else {
            0
        },
        out_batch: &raw mut next as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: keys.len().min(values.len()) as u32,
        map_fd: map.as_raw_fd() as u32,
        ..MapBatch::default()
    };
    // SAFETY: the right structure; the slices have room for `count` elements of the map's own types.
    let result = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attr) };
    let done = match result {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    cursor.position = next;
    cursor.started = true;
    Ok(BatchStep {
        count: attr.count as usize,
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
        let mut attr = MapBatch {
            keys: keys[done..].as_ptr() as u64,
            count: (keys.len() - done) as u32,
            map_fd: map.as_raw_fd() as u32,
            ..MapBatch::default()
        };
        // SAFETY: the right structure; the slice has `count` keys of the map's key type.
        match unsafe { bpf(bpf_cmd::BPF_MAP_DELETE_BATCH, &mut attr) } {
            Ok(_) => return Ok(()),
            // `count` comes back as the number removed before the absent one.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                done += attr.count as usize + 1
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const _: () = assert!(size_of::<ProgLoad>() == 112);
const _: () = assert!(size_of::<LinkCreateUprobeMulti>() == 64);
const _: () = assert!(size_of::<MapElement>() == 32);
const _: () = assert!(size_of::<MapBatch>() == 56);
const _: () = assert!(size_of::<MapElement>() == 32);
