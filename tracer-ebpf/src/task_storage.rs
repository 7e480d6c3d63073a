//! The kernel's task-local storage as a map.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_get};

/// A BTF definition of a `BPF_MAP_TYPE_TASK_STORAGE` map, which aya-ebpf does not have.
#[repr(C)]
pub struct TaskStorage<T> {
    r#type: *const [i32; 29],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; 1],
}

// SAFETY: the fields are placeholders for the loader and are never read.
unsafe impl<T> Sync for TaskStorage<T> {}

impl<T> TaskStorage<T> {
    /// A definition for a static.
    pub const fn new() -> Self {
        use core::ptr::null;
        Self {
            r#type: null(),
            key: null(),
            value: null(),
            max_entries: null(),
            map_flags: null(),
        }
    }

    /// The current thread's value; created, all zero, if `create`.
    #[inline(always)]
    pub fn current(&self, create: bool) -> *mut T {
        let map = (&raw const *self).cast_mut().cast::<c_void>();
        // SAFETY: the map is a live static; a null value means zero-initialised.
        unsafe {
            let task = bpf_get_current_task_btf();
            bpf_task_storage_get(map, task.cast(), core::ptr::null_mut(), create as u64).cast()
        }
    }
}
