//! Objects of the slab allocator: `kmalloc` and the caches.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::programs::RawTracePointContext;
use tracer_common::kernel_memory::{
    Cache, Flavour, KernelLoss, Kind, NAME_WORDS, NO_KMALLOC, What,
};

use super::account;
use super::maps::KERNEL_CACHES;
use crate::config::config;
use crate::loss;
use crate::memory::{read_kernel_u32, read_kernel_u64};

/// Arguments: call site, address, bytes asked for, bytes given, flags.
#[inline(always)]
pub fn kmalloc(ctx: &RawTracePointContext, room: u32) {
    let address: u64 = ctx.arg(1);
    let wanted = config!(kmalloc);
    if is_nothing(address) || wanted == NO_KMALLOC {
        return;
    }
    let size: u64 = ctx.arg(3);
    let what = What::kmalloc(size, flavour(ctx.arg::<u64>(4) as u32) as u32);
    if wanted != 0 && wanted != what.0 {
        return;
    }
    account::allocated(ctx, room, Kind::Slab, address, size, what);
}

/// Which caches of a size `kmalloc` takes the object from.
#[inline(always)]
fn flavour(gfp: u32) -> Flavour {
    if gfp & config!(gfp_dma) != 0 {
        Flavour::Dma
    } else if gfp & config!(gfp_reclaimable) != 0 {
        Flavour::Reclaimable
    } else if gfp & config!(gfp_accounted) != 0 {
        Flavour::Accounted
    } else {
        Flavour::Normal
    }
}

/// Arguments: call site, address, cache.
#[inline(always)]
pub fn cache_alloc(ctx: &RawTracePointContext, room: u32) {
    let address: u64 = ctx.arg(1);
    if is_nothing(address) {
        return;
    }
    let cache: u64 = ctx.arg(2);
    // SAFETY: read at once; entries are never removed.
    let known = unsafe {
        KERNEL_CACHES
            .get(cache)
            .map(|known| (known.size, known.wanted))
    };
    let (size, wanted) = match known {
        Some(known) => known,
        None => {
            let told = learn(cache);
            (told as u32, (told >> 32) as u32)
        }
    };
    if wanted != 0 {
        account::allocated(ctx, room, Kind::Slab, address, size as u64, What(cache));
    }
}

/// An object is about to be released.
#[inline(always)]
pub fn free(address: u64) {
    if !is_nothing(address) {
        account::released(Kind::Slab, address);
    }
}

/// `NULL` and `ZERO_SIZE_PTR`.
#[inline(always)]
pub fn is_nothing(address: u64) -> bool {
    address <= 16
}

/// Takes note of a cache: its size in the lower half, whether it is wanted in the upper. Checked by the verifier apart
/// from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn learn(address: u64) -> u64 {
    let mut cache = Cache {
        size: read_kernel_u32(address.wrapping_add(config!(cache_size) as u64)),
        ..Cache::default()
    };
    let name = read_kernel_u64(address.wrapping_add(config!(cache_name_offset) as u64));
    // SAFETY: the destination has the length; the helper checks the source.
    unsafe {
        bpf_probe_read_kernel_str(
            (&raw mut cache.name).cast(),
            (NAME_WORDS * 8) as u32,
            name as *const _,
        )
    };
    let wanted = config!(cache_name);
    let mut same = true;
    let mut word = 0;
    while word < NAME_WORDS {
        same &= wanted[word] == cache.name[word];
        word += 1;
    }
    cache.wanted = (wanted[0] == 0 || same) as u32;
    if KERNEL_CACHES
        .insert(address, cache, BPF_ANY as u64)
        .is_err()
    {
        loss::count(KernelLoss::CachesFull);
    }
    cache.size as u64 | (cache.wanted as u64) << 32
}
