//! What the programs of `memlens kernel` are told of the running kernel, from its type information.

use tracer_common::kernel_memory::KernelConfig;

use super::btf::Btf;

/// How the arguments of the tracepoints lie, of those that have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The flags and offsets; the filters are not set.
    pub config: KernelConfig,
    /// Whether the arguments of `percpu_alloc_percpu` are the ones that are known (Linux 5.19 and later).
    pub percpu: bool,
    /// Whether the functions that release without a tracepoint are there, with the arguments that are known.
    pub silent: bool,
}

/// Why the kernel's own memory cannot be followed on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// There is no type information.
    #[error(
        "no kernel type information at /sys/kernel/btf/vmlinux; boot a kernel that is built with CONFIG_DEBUG_INFO_BTF"
    )]
    NoBtf,
    /// There are no tracepoints at the allocators.
    #[error(
        "this kernel has no kmem tracepoints; boot one that is built with CONFIG_TRACEPOINTS and CONFIG_FTRACE"
    )]
    NoTracepoints,
    /// The arguments are those of an older kernel.
    #[error(
        "the kmem tracepoints of this kernel do not tell the slab cache; boot Linux 6.1 or later"
    )]
    OlderArguments,
}

/// Reads the running kernel's type information.
pub(super) fn layout() -> Result<Layout, LayoutError> {
    let data = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|_| LayoutError::NoBtf)?;
    layout_of(&Btf::parse(&data).ok_or(LayoutError::NoBtf)?)
}

fn layout_of(btf: &Btf<'_>) -> Result<Layout, LayoutError> {
    let arguments = |tracepoint: &str| btf.arguments(&format!("btf_trace_{tracepoint}"));
    let cache_alloc = arguments("kmem_cache_alloc").ok_or(LayoutError::NoTracepoints)?;
    let kmalloc = arguments("kmalloc").ok_or(LayoutError::NoTracepoints)?;
    // The first one is the trace's own. Until 6.0 two sizes stood where the cache is, and in 6.0 the cache stood before
    // both.
    if cache_alloc.get(3).map(String::as_str) != Some("kmem_cache")
        || !is_size(kmalloc.get(3))
        || !is_size(kmalloc.get(4))
    {
        return Err(LayoutError::OlderArguments);
    }
    let (Some(cache_size), Some(cache_name_offset)) = (
        btf.member_offset("kmem_cache", "size"),
        btf.member_offset("kmem_cache", "name"),
    ) else {
        return Err(LayoutError::NoBtf);
    };
    // Enumerators since 6.10; before that macros, with these values (include/linux/gfp_types.h).
    let flag = |name: &str, before: u32| {
        btf.enumerator(&format!("___GFP_{name}_BIT"))
            .map_or(before, |bit| 1 << (bit & 31))
    };
    let page = btf
        .structure_size("page")
        .filter(|size| size.is_power_of_two());
    let config = KernelConfig {
        gfp_movable: flag("MOVABLE", 0x08),
        gfp_dma: flag("DMA", 0x01),
        gfp_reclaimable: flag("RECLAIMABLE", 0x10),
        gfp_accounted: flag("ACCOUNT", 0x40_0000),
        cache_size,
        cache_name_offset,
        page_shift: page.map_or(0, u32::ilog2),
        ..KernelConfig::default()
    };
    let percpu = arguments("percpu_alloc_percpu");
    Ok(Layout {
        config,
        percpu: percpu.is_some_and(|arguments| arguments.len() == 11 && is_size(arguments.get(9))),
        silent: silent_releases(btf).is_some_and(|known| known),
    })
}

/// Whether `kmem_cache_free_bulk(cache, count, objects)` and `kvfree_call_rcu(head, object)` have these arguments. The
/// latter's second one was a callback until 6.2.
fn silent_releases(btf: &Btf<'_>) -> Option<bool> {
    let bulk = btf.function_arguments("kmem_cache_free_bulk")?;
    let later = btf.function_arguments("kvfree_call_rcu")?;
    Some(is_size(bulk.get(1)) && later.get(1).is_some_and(String::is_empty))
}

fn is_size(argument: Option<&String>) -> bool {
    argument.is_some_and(|name| name == "size_t")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type information with typedefs of tracepoints, each with the types of its arguments by name; "*" is a pointer to
    /// void.
    fn types(tracepoints: &[(&str, &[&str])]) -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut words: Vec<u32> = Vec::new();
        let mut count = 0;
        let mut put = |entry: &[u32]| {
            words.extend(entry);
            count += 1;
            count
        };
        let mut name = |text: &str| {
            let at = strings.len() as u32;
            strings.extend(text.bytes().chain([0]));
            at
        };
        for (tracepoint, arguments) in tracepoints {
            let mut prototype = vec![0, 13 << 24 | arguments.len() as u32, 0];
            for argument in *arguments {
                let to = match *argument {
                    "*" => 0,
                    named => put(&[name(named), 4 << 24, 8]),
                };
                prototype.extend([0, put(&[0, 2 << 24, to])]);
            }
            let function = put(&prototype);
            let pointer = put(&[0, 2 << 24, function]);
            put(&[name(&format!("btf_trace_{tracepoint}")), 8 << 24, pointer]);
        }
        let types = words.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, types, types, strings.len() as u32];
        let numbers = header.iter().chain(&words);
        let mut data: Vec<u8> = numbers.flat_map(|word| word.to_le_bytes()).collect();
        data.extend(strings);
        data
    }

    fn refusal(tracepoints: &[(&str, &[&str])]) -> LayoutError {
        let data = types(tracepoints);
        let btf = Btf::parse(&data).expect("type information");
        layout_of(&btf).expect_err("it lacks something")
    }

    #[test]
    fn kernels_that_tell_too_little_are_refused_by_name() {
        let kmalloc: (&str, &[&str]) =
            ("kmalloc", &["*", "ulong", "*", "size_t", "size_t", "gfp_t"]);
        assert_eq!(refusal(&[]), LayoutError::NoTracepoints);
        assert_eq!(refusal(&[kmalloc]), LayoutError::NoTracepoints);
        // Linux 5.10.
        let old = ("kmem_cache_alloc", kmalloc.1);
        assert_eq!(refusal(&[kmalloc, old]), LayoutError::OlderArguments);
        // Linux 6.0.
        let arguments = &["*", "ulong", "*", "kmem_cache", "size_t", "size_t"];
        let old = [("kmalloc", &arguments[..]), ("kmem_cache_alloc", arguments)];
        assert_eq!(refusal(&old), LayoutError::OlderArguments);
        // The arguments of 6.1, without the structures.
        let new: (&str, &[&str]) = (
            "kmem_cache_alloc",
            &["*", "ulong", "*", "kmem_cache", "gfp_t"],
        );
        assert_eq!(refusal(&[kmalloc, new]), LayoutError::NoBtf);
    }

    /// The kernel that runs the tests has all that is asked for, if it has type information and is not too old.
    #[test]
    fn the_running_kernel_is_understood() {
        match layout() {
            Ok(found) => {
                let config = found.config;
                assert_eq!(
                    [config.gfp_dma, config.gfp_movable, config.gfp_reclaimable],
                    [1, 8, 16]
                );
                assert!(config.gfp_accounted.is_power_of_two());
                assert!(config.cache_size > 0 && config.cache_name_offset > config.cache_size);
                assert_eq!(config.page_shift, 6);
            }
            Err(error) => assert!(error.to_string().contains("boot"), "{error}"),
        }
    }
}
