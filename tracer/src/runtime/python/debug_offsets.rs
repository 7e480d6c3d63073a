//! The offsets that CPython tells itself from 3.13 on: `_Py_DebugOffsets`, with which `_PyRuntime` begins
//! (Include/internal/pycore_runtime.h in 3.13, pycore_debug_offsets.h since).

use tracer_common::runtime::python::PythonLayout;

use super::versions::{BOUND_GILSTATE, OWNED_BY_INTERPRETER};

/// What the structure begins with.
const COOKIE: &[u8; 8] = b"xdebugpy";

/// Bytes that may have to be read of it.
pub const MOST_BYTES: usize = 1024;

/// Why the offsets cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is a version whose structure is not known.
    Version(u32),
    /// It is a build without the global interpreter lock.
    FreeThreaded(u32),
    /// An offset cannot be one.
    Damaged(u32),
}

/// The structures in the order in which they are described, with their members, 8 bytes each.
type Groups = &'static [(&'static str, &'static [&'static str])];

const HEAD: (&str, &[&str]) = ("head", &["cookie", "version", "free_threaded"]);
const RUNTIME: (&str, &[&str]) = ("runtime", &["size", "finalizing", "interpreters_head"]);
const CODE: (&str, &[&str]) = (
    "code",
    &[
        "size",
        "filename",
        "name",
        "qualname",
        "linetable",
        "firstlineno",
        "argcount",
        "localsplusnames",
        "localspluskinds",
        "co_code_adaptive",
    ],
);
const CODE_WITH_COPIES: (&str, &[&str]) = (
    "code",
    &[
        "size",
        "filename",
        "name",
        "qualname",
        "linetable",
        "firstlineno",
        "argcount",
        "localsplusnames",
        "localspluskinds",
        "co_code_adaptive",
        "co_tlbc",
    ],
);
const OBJECT: (&str, &[&str]) = ("object", &["size", "ob_type"]);
const TUPLE: (&str, &[&str]) = ("tuple", &["size", "ob_item", "ob_size"]);
const LIST: (&str, &[&str]) = ("list", &["size", "ob_item", "ob_size"]);
const SET: (&str, &[&str]) = ("set", &["size", "used", "table", "mask"]);
const DICT: (&str, &[&str]) = ("dict", &["size", "ma_keys", "ma_values"]);
const FLOAT: (&str, &[&str]) = ("float", &["size", "ob_fval"]);
const LONG: (&str, &[&str]) = ("long", &["size", "lv_tag", "ob_digit"]);
const BYTES: (&str, &[&str]) = ("bytes", &["size", "ob_size", "ob_sval"]);
const TEXT: (&str, &[&str]) = ("text", &["size", "state", "length", "asciiobject_size"]);
const FRAME: (&str, &[&str]) = (
    "frame",
    &[
        "size",
        "previous",
        "executable",
        "instr_ptr",
        "localsplus",
        "owner",
        "stackpointer",
        "tlbc_index",
    ],
);
const INTERPRETER: (&str, &[&str]) = (
    "interpreter",
    &[
        "size",
        "id",
        "next",
        "threads_head",
        "threads_main",
        "gc",
        "imports_modules",
        "sysdict",
        "builtins",
        "ceval_gil",
        "gil_runtime_state",
        "gil_runtime_state_enabled",
        "gil_runtime_state_locked",
        "gil_runtime_state_holder",
        "code_object_generation",
        "tlbc_generation",
    ],
);

const V3_13: Groups = &[
    HEAD,
    RUNTIME,
    (
        "interpreter",
        &[
            "size",
            "id",
            "next",
            "threads_head",
            "gc",
            "imports_modules",
            "sysdict",
            "builtins",
            "ceval_gil",
            "gil_runtime_state",
            "gil_runtime_state_enabled",
            "gil_runtime_state_locked",
            "gil_runtime_state_holder",
        ],
    ),
    (
        "thread",
        &[
            "size",
            "prev",
            "next",
            "interp",
            "current_frame",
            "thread_id",
            "native_thread_id",
            "datastack_chunk",
            "status",
        ],
    ),
    (
        "frame",
        &[
            "size",
            "previous",
            "executable",
            "instr_ptr",
            "localsplus",
            "owner",
        ],
    ),
    CODE,
    OBJECT,
    ("type", &["size", "tp_name", "tp_repr", "tp_flags"]),
    TUPLE,
    LIST,
    DICT,
    FLOAT,
    LONG,
    BYTES,
    TEXT,
];

const V3_14: Groups = &[
    HEAD,
    RUNTIME,
    INTERPRETER,
    (
        "thread",
        &[
            "size",
            "prev",
            "next",
            "interp",
            "current_frame",
            "thread_id",
            "native_thread_id",
            "datastack_chunk",
            "status",
        ],
    ),
    FRAME,
    CODE_WITH_COPIES,
    OBJECT,
    ("type", &["size", "tp_name", "tp_repr", "tp_flags"]),
    TUPLE,
    LIST,
    SET,
    DICT,
    FLOAT,
    LONG,
    BYTES,
    TEXT,
];

const V3_15: Groups = &[
    HEAD,
    RUNTIME,
    INTERPRETER,
    (
        "thread",
        &[
            "size",
            "prev",
            "next",
            "interp",
            "current_frame",
            "base_frame",
            "last_profiled_frame",
            "last_profiled_frame_seq",
            "thread_id",
            "native_thread_id",
            "datastack_chunk",
            "status",
            "holds_gil",
            "gil_requested",
            "current_exception",
            "exc_state",
        ],
    ),
    ("exception", &["exc_value"]),
    FRAME,
    CODE_WITH_COPIES,
    OBJECT,
    (
        "type",
        &[
            "size",
            "tp_name",
            "tp_repr",
            "tp_flags",
            "tp_basicsize",
            "tp_dictoffset",
        ],
    ),
    ("heap_type", &["size", "ht_cached_keys"]),
    TUPLE,
    LIST,
    SET,
    DICT,
    FLOAT,
    LONG,
    BYTES,
    TEXT,
];

/// The offsets of a build, from the begin of its `_PyRuntime`; `None` if it has none: it is older than 3.13.
///
/// # Errors
/// Why they cannot be used.
pub fn layout(runtime: &[u8]) -> Option<Result<PythonLayout, Refused>> {
    runtime.starts_with(COOKIE).then(|| read(runtime))
}

fn read(runtime: &[u8]) -> Result<PythonLayout, Refused> {
    let word = |index: usize| {
        let bytes = runtime.get(index * 8..index * 8 + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    // PY_VERSION_HEX: major, minor, micro, level and serial.
    let hex = word(1).unwrap_or(0) as u32;
    let version = hex >> 24 << 16 | hex >> 16 & 0xff;
    let groups = match version {
        0x3_000d => V3_13,
        0x3_000e => V3_14,
        0x3_000f => V3_15,
        _ => return Err(Refused::Version(version)),
    };
    if word(2) != Some(0) {
        return Err(Refused::FreeThreaded(version));
    }
    let offset = |group: &str, member: &str| {
        let at = index(groups, group, member).and_then(word);
        // They are small numbers, or something else is there.
        at.filter(|at| *at < 1 << 20)
            .map(|at| at as u32)
            .ok_or(Refused::Damaged(version))
    };
    let layout = PythonLayout {
        interpreters: offset("runtime", "interpreters_head")?,
        interpreter_next: offset("interpreter", "next")?,
        interpreter_threads: offset("interpreter", "threads_head")?,
        thread_next: offset("thread", "next")?,
        thread_id: offset("thread", "thread_id")?,
        thread_live: offset("thread", "status")?,
        live_mask: BOUND_GILSTATE,
        thread_bytes: 192,
        thread_frame: offset("thread", "current_frame")?,
        current_frame: PythonLayout::DIRECT,
        frame_code: offset("frame", "executable")?,
        frame_back: offset("frame", "previous")?,
        frame_instruction: offset("frame", "instr_ptr")?,
        frame_end: offset("frame", "owner")?,
        end_least: OWNED_BY_INTERPRETER,
        frame_bytes: (offset("frame", "owner")? | 7) + 1,
        flags: PythonLayout::END_IS_SHIM
            | match version {
                0x3_000d => 0,
                _ => PythonLayout::IS_TAGGED,
            },
        code_instructions: offset("code", "co_code_adaptive")?,
        code_first_line: offset("code", "firstlineno")?,
        code_file: offset("code", "filename")?,
        code_name: offset("code", "qualname")?,
        code_lines: offset("code", "linetable")?,
        text_ascii: offset("text", "asciiobject_size")?,
        // PyCompactUnicodeObject: the length and the pointer of the UTF-8 form follow.
        text_wide: offset("text", "asciiobject_size")? + 16,
        text_shift: 2,
        version,
    };
    let is_known = offset("bytes", "ob_sval")? == 32
        && offset("bytes", "ob_size")? == 16
        && offset("text", "length")? == 16
        && offset("text", "state")? == 32
        && layout.text_ascii > 32
        && layout.interpreters > 0
        && layout.thread_id > 0;
    match is_known && layout.is_valid() {
        true => Ok(layout),
        false => Err(Refused::Damaged(version)),
    }
}

/// Where a member is, in words.
fn index(groups: Groups, group: &str, member: &str) -> Option<usize> {
    let before = groups.iter().take_while(|(name, _)| *name != group);
    let before: usize = before.map(|(_, members)| members.len()).sum();
    let (_, members) = groups.iter().find(|(name, _)| *name == group)?;
    let at = members.iter().position(|name| *name == member)?;
    Some(before + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A structure with values by its members.
    fn structure(
        hex: u64,
        free_threaded: u64,
        groups: Groups,
        values: &[(&str, &str, u64)],
    ) -> Vec<u8> {
        let mut words = vec![0u64; groups.iter().map(|(_, members)| members.len()).sum()];
        words[0] = u64::from_le_bytes(*COOKIE);
        (words[1], words[2]) = (hex, free_threaded);
        for (group, member, value) in values {
            words[index(groups, group, member).expect("a member")] = *value;
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// As read from the 3.13.0 and the 3.14.8 of a distribution.
    const VALUES: [(&str, &str, u64); 20] = [
        ("runtime", "interpreters_head", 632),
        ("interpreter", "next", 7264),
        ("interpreter", "threads_head", 7344),
        ("thread", "next", 8),
        ("thread", "current_frame", 72),
        ("thread", "thread_id", 152),
        ("thread", "status", 32),
        ("frame", "previous", 8),
        ("frame", "instr_ptr", 56),
        ("frame", "owner", 70),
        ("code", "filename", 112),
        ("code", "qualname", 128),
        ("code", "linetable", 136),
        ("code", "firstlineno", 68),
        ("code", "co_code_adaptive", 200),
        ("bytes", "ob_size", 16),
        ("bytes", "ob_sval", 32),
        ("text", "state", 32),
        ("text", "length", 16),
        ("text", "asciiobject_size", 40),
    ];

    #[test]
    fn offsets_are_read() {
        let found = layout(&structure(0x030d_00f0, 0, V3_13, &VALUES))
            .expect("a cookie")
            .expect("offsets");
        assert_eq!(
            (found.version, found.thread_id, found.frame_bytes),
            (0x3_000d, 152, 72)
        );
        assert_eq!(
            (found.text_wide, found.flags),
            (56, PythonLayout::END_IS_SHIM)
        );
        let found = layout(&structure(0x030e_08f0, 0, V3_14, &VALUES))
            .expect("a cookie")
            .expect("offsets");
        assert_eq!(
            found.flags,
            PythonLayout::END_IS_SHIM | PythonLayout::IS_TAGGED
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let of =
            |hex, free, values| layout(&structure(hex, free, V3_14, values)).expect("a cookie");
        assert_eq!(of(0x0310_02f0, 0, &VALUES), Err(Refused::Version(0x3_0010)));
        assert_eq!(
            of(0x030e_02f0, 1, &VALUES),
            Err(Refused::FreeThreaded(0x3_000e))
        );
        assert_eq!(
            of(0x030e_02f0, 0, &VALUES[..19]),
            Err(Refused::Damaged(0x3_000e))
        );
        assert_eq!(layout(b"something else"), None);
        assert_eq!(layout(COOKIE), Some(Err(Refused::Version(0))));
    }

    proptest! {
        /// A traced program has any bytes there; no offset leads out of what is read.
        #[test]
        fn any_bytes_can_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..900), minor in 12u8..17) {
            let mut bytes = [&COOKIE[..], &[0xf0, 0, minor, 3, 0, 0, 0, 0], &[0; 8], &bytes].concat();
            bytes.truncate(MOST_BYTES);
            if let Some(Ok(layout)) = layout(&bytes) {
                prop_assert!(layout.is_valid());
            }
        }
    }
}
