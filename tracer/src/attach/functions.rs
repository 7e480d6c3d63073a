//! The allocator functions that are known by name, and how each is called.
//!
//! Conventions are those of the C library manual, of `jemalloc(3)`, of gperftools' `tcmalloc.h`, of
//! `mimalloc.h` (2.0 and 3.x) and of the Itanium C++ ABI's operator names.

use tracer_common::call::{
    Arg::{self, First, Fourth, Second, Third},
    Call,
};

/// The prefixes that are tried without being asked for: plain names, jemalloc built with a prefix (in C
/// and in Rust programs), mimalloc, gperftools.
const PREFIXES: [&str; 5] = ["", "je_", "_rjem_", "mi_", "tc_"];

/// One known function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How it is called.
    pub call: Call,
    /// A C++ exception may leave it, so its return address must not be replaced.
    pub throws: bool,
    /// It is an `operator new` or `operator delete`.
    pub operator: bool,
}

/// What a symbol's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// An allocator function with a known convention.
    Known {
        /// The prefix before the usual name: "" or "je_", say. Empty for operators.
        prefix: String,
        /// The name without the prefix.
        base: String,
        /// What it does.
        known: Known,
    },
    /// An allocator function whose effect no [`Call`] can express.
    Unsupported {
        /// The prefix before the usual name.
        prefix: String,
        /// Why it is not traced, as a clause.
        why: &'static str,
    },
}

/// Looks up a symbol `name`, without its version. With an explicit prefix, C functions count only
/// under that prefix; operators have none.
pub fn lookup(name: &str, explicit_prefix: Option<&str>) -> Option<Lookup> {
    if let Some(known) = operator(name) {
        return Some(Lookup::Known {
            prefix: String::new(),
            base: name.to_owned(),
            known,
        });
    }
    match explicit_prefix {
        Some(prefix) => lookup_under(name, prefix),
        None => PREFIXES
            .iter()
            .find_map(|prefix| lookup_under(name, prefix)),
    }
}

fn lookup_under(name: &str, prefix: &str) -> Option<Lookup> {
    let base = name.strip_prefix(prefix)?;
    if let Some(why) = unsupported(base, prefix) {
        return Some(Lookup::Unsupported {
            prefix: prefix.to_owned(),
            why,
        });
    }
    let known = match prefix {
        "mi_" => common(base).or_else(|| mimalloc(base)),
        "tc_" => common(base).or_else(|| gperftools(base)),
        _ => common(base),
    }?;
    Some(Lookup::Known {
        prefix: prefix.to_owned(),
        base: base.to_owned(),
        known,
    })
}

/// Why a [`Call`] cannot express what a function does, where it cannot.
fn unsupported(base: &str, prefix: &str) -> Option<&'static str> {
    match base {
        "xallocx" => return Some("resizes in place and returns a size"),
        "reallocarr" => return Some("takes the address of the pointer"),
        _ if prefix != "mi_" => return None,
        _ => {}
    }
    match base {
        "heap_destroy" => Some("releases a whole heap at once"),
        "strdup" | "strndup" | "realpath" | "heap_strdup" | "heap_strndup" | "heap_realpath" => {
            Some("the size is not an argument")
        }
        _ => None,
    }
}

const fn plain(call: Call) -> Known {
    Known {
        call,
        throws: false,
        operator: false,
    }
}

const fn throwing(call: Call) -> Known {
    Known {
        throws: true,
        ..plain(call)
    }
}

/// `call`, but the old block is released even when there is no new one.
const fn freeing_on_failure(call: Call) -> Call {
    Call {
        frees_on_failure: true,
        ..call
    }
}

/// The C library's names, and jemalloc's own.
fn common(base: &str) -> Option<Known> {
    let call = match base {
        "malloc" | "valloc" | "pvalloc" | "mallocx" => Call::alloc(First),
        "calloc" => Call::alloc_array(First, Second),
        "realloc" | "rallocx" => Call::realloc(First, Second),
        "reallocarray" => Call::realloc_array(First, Second, Third),
        "reallocf" => freeing_on_failure(Call::realloc(First, Second)),
        "posix_memalign" => Call::alloc_out(First, Third),
        "aligned_alloc" | "memalign" => Call::alloc(Second),
        "free" | "cfree" | "free_sized" | "free_aligned_sized" | "dallocx" | "sdallocx" => {
            Call::free(First)
        }
        _ => return None,
    };
    Some(plain(call))
}

/// gperftools' names beyond the common ones.
fn gperftools(base: &str) -> Option<Known> {
    Some(match base {
        "malloc_skip_new_handler" => plain(Call::alloc(First)),
        "new" | "newarray" | "new_aligned" | "newarray_aligned" => throwing(Call::alloc(First)),
        "new_nothrow" | "newarray_nothrow" | "new_aligned_nothrow" | "newarray_aligned_nothrow" => {
            plain(Call::alloc(First))
        }
        _ => {
            let rest = base
                .strip_prefix("deletearray")
                .or_else(|| base.strip_prefix("delete"))?;
            let known = ["", "_nothrow", "_sized", "_aligned"].contains(&rest)
                || ["_aligned_nothrow", "_sized_aligned"].contains(&rest);
            if !known {
                return None;
            }
            plain(Call::free(First))
        }
    })
}

/// mimalloc's names beyond the common ones. The functions that take a heap (`heap_`, and `theap_` in
/// 3.x) have it as their first argument and are else like their namesakes.
fn mimalloc(base: &str) -> Option<Known> {
    let on_heap = base
        .strip_prefix("heap_")
        .or_else(|| base.strip_prefix("theap_"));
    match on_heap {
        None => mimalloc_plain(base),
        Some("alloc_new") => Some(throwing(Call::alloc(Second))),
        Some("alloc_new_n") => Some(throwing(Call::alloc_array(Second, Third))),
        Some("alloc_new_nothrow") => Some(plain(Call::alloc(Second))),
        Some(rest) => {
            let takes_heap = rest.contains("alloc") && rest != "posix_memalign";
            let known = common(rest).or_else(|| mimalloc_plain(rest));
            known.filter(|_| takes_heap).and_then(|known| {
                Some(Known {
                    call: after_one_more_argument(known.call)?,
                    ..known
                })
            })
        }
    }
}

fn mimalloc_plain(base: &str) -> Option<Known> {
    let name = base.strip_suffix("_at").unwrap_or(base);
    let call = match name {
        "zalloc" | "malloc_small" | "zalloc_small" | "malloc_aligned" | "zalloc_aligned" => {
            Call::alloc(First)
        }
        "umalloc" | "umalloc_aligned" | "uzalloc_aligned" | "umalloc_small" | "uzalloc_small" => {
            Call::alloc(First)
        }
        "mallocn" | "calloc_aligned" | "ucalloc" => Call::alloc_array(First, Second),
        "realloc_aligned" | "rezalloc" | "rezalloc_aligned" | "urealloc" => {
            Call::realloc(First, Second)
        }
        "reallocn"
        | "recalloc"
        | "recalloc_aligned"
        | "aligned_recalloc"
        | "aligned_offset_recalloc" => Call::realloc_array(First, Second, Third),
        "free_size"
        | "free_size_aligned"
        | "free_aligned"
        | "free_small"
        | "ufree"
        | "free_small_nonnull"
        | "free_small_local"
        | "free_small_local_nonnull" => Call::free(First),
        "new" | "new_aligned" => return Some(throwing(Call::alloc(First))),
        "new_nothrow" | "new_aligned_nothrow" => Call::alloc(First),
        "new_n" => return Some(throwing(Call::alloc_array(First, Second))),
        "new_realloc" => return Some(throwing(Call::realloc(First, Second))),
        "new_reallocn" => return Some(throwing(Call::realloc_array(First, Second, Third))),
        _ => return None,
    };
    Some(plain(call))
}

/// The same convention with every argument one place later; `None` past the fourth.
fn after_one_more_argument(call: Call) -> Option<Call> {
    Some(Call {
        size: next(call.size)?,
        count: next(call.count)?,
        old: next(call.old)?,
        out: next(call.out)?,
        ..call
    })
}

/// The argument after `arg`, if there is one; the outer `None` where registers have run out.
fn next(arg: Option<Arg>) -> Option<Option<Arg>> {
    match arg {
        None => Some(None),
        Some(First) => Some(Some(Second)),
        Some(Second) => Some(Some(Third)),
        Some(Third) => Some(Some(Fourth)),
        Some(Fourth) => None,
    }
}

/// Reads a mangled `operator new` or `operator delete`: Itanium C++ ABI, section 5.1.3, for a 64-bit
/// `size_t`. tcmalloc adds hot and cold forms of `new`.
fn operator(name: &str) -> Option<Known> {
    let new = name
        .strip_prefix("_Znwm")
        .or_else(|| name.strip_prefix("_Znam"));
    if let Some(rest) = new {
        let rest = strip(rest, "St11align_val_t");
        let nothrow = rest.starts_with("RKSt9nothrow_t");
        let rest = strip(rest, "RKSt9nothrow_t");
        let rest = strip(rest, "12__hot_cold_t");
        return rest.is_empty().then_some(Known {
            call: Call::alloc(First),
            throws: !nothrow,
            operator: true,
        });
    }
    let rest = name
        .strip_prefix("_ZdlPv")
        .or_else(|| name.strip_prefix("_ZdaPv"))?;
    let rest = strip(strip(rest, "m"), "St11align_val_t");
    strip(rest, "RKSt9nothrow_t").is_empty().then_some(Known {
        call: Call::free(First),
        throws: false,
        operator: true,
    })
}

fn strip<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> Option<(String, Known)> {
        match lookup(name, None)? {
            Lookup::Known { prefix, known, .. } => Some((prefix, known)),
            Lookup::Unsupported { .. } => None,
        }
    }

    fn call(name: &str) -> Call {
        known(name)
            .unwrap_or_else(|| panic!("{name} is known"))
            .1
            .call
    }

    #[test]
    fn c_names_have_the_manuals_argument_order() {
        assert_eq!(call("malloc"), Call::alloc(First));
        assert_eq!(call("calloc"), Call::alloc_array(First, Second));
        assert_eq!(call("posix_memalign"), Call::alloc_out(First, Third));
        assert_eq!(call("aligned_alloc"), Call::alloc(Second));
        assert_eq!(call("memalign"), Call::alloc(Second));
        assert_eq!(
            call("reallocarray"),
            Call::realloc_array(First, Second, Third)
        );
        assert!(call("reallocf").frees_on_failure);
        assert_eq!(call("free_aligned_sized"), Call::free(First));
    }

    #[test]
    fn prefixes_are_discovered() {
        for (name, prefix) in [
            ("je_malloc", "je_"),
            ("_rjem_sdallocx", "_rjem_"),
            ("mi_malloc", "mi_"),
            ("tc_free_sized", "tc_"),
            ("malloc", ""),
        ] {
            assert_eq!(known(name).map(|found| found.0).as_deref(), Some(prefix));
        }
        assert_eq!(known("rte_malloc"), None);
    }

    #[test]
    fn an_explicit_prefix_excludes_the_others() {
        assert!(lookup("sn_malloc", Some("sn_")).is_some());
        assert_eq!(lookup("malloc", Some("sn_")), None);
        assert!(lookup("_Znwm", Some("sn_")).is_some());
    }

    #[test]
    fn mimalloc_puts_the_heap_first_and_the_alignment_last() {
        assert_eq!(call("mi_malloc_aligned"), Call::alloc(First));
        assert_eq!(call("mi_memalign"), Call::alloc(Second));
        assert_eq!(call("mi_heap_malloc"), Call::alloc(Second));
        assert_eq!(call("mi_heap_calloc"), Call::alloc_array(Second, Third));
        assert_eq!(call("mi_heap_realloc"), Call::realloc(Second, Third));
        assert!(call("mi_heap_reallocf").frees_on_failure);
        assert_eq!(
            call("mi_heap_recalloc_aligned_at"),
            Call::realloc_array(Second, Third, Fourth)
        );
        assert_eq!(call("mi_theap_zalloc"), Call::alloc(Second));
        assert_eq!(call("mi_new_n"), Call::alloc_array(First, Second));
        assert_eq!(call("mi_free_size"), Call::free(First));
        assert_eq!(known("mi_heap_new"), None);
        assert_eq!(known("mi_heap_free"), None);
        assert_eq!(known("mi_heap_delete"), None);
    }

    #[test]
    fn only_the_throwing_forms_throw() {
        for name in [
            "_Znwm",
            "_Znam",
            "_ZnwmSt11align_val_t",
            "tc_new",
            "mi_new",
            "mi_new_n",
        ] {
            assert!(known(name).expect(name).1.throws, "{name}");
        }
        for name in [
            "_ZnwmRKSt9nothrow_t",
            "_ZnamSt11align_val_tRKSt9nothrow_t",
            "tc_new_nothrow",
            "mi_new_aligned_nothrow",
            "malloc",
        ] {
            assert!(!known(name).expect(name).1.throws, "{name}");
        }
    }

    #[test]
    fn every_delete_releases_its_first_argument() {
        for name in [
            "_ZdlPv",
            "_ZdaPv",
            "_ZdlPvm",
            "_ZdaPvm",
            "_ZdlPvSt11align_val_t",
            "_ZdaPvmSt11align_val_t",
            "_ZdlPvRKSt9nothrow_t",
            "_ZdlPvSt11align_val_tRKSt9nothrow_t",
            "tc_deletearray_sized_aligned",
        ] {
            assert_eq!(call(name), Call::free(First), "{name}");
        }
    }

    #[test]
    fn names_that_only_look_alike_are_not_known() {
        for name in [
            "_ZnwmPv",
            "_Znwj",
            "_ZdlPvS_",
            "malloc_usable_size",
            "__minimal_malloc",
            "__rtld_malloc",
            "freeaddrinfo",
            "tc_delete_me",
            "mi_heap_malloc_aligned_at_at",
        ] {
            assert_eq!(lookup(name, None), None, "{name}");
        }
    }

    #[test]
    fn what_no_convention_expresses_is_named_with_a_reason() {
        assert!(matches!(
            lookup("je_xallocx", None),
            Some(Lookup::Unsupported { .. })
        ));
        assert!(matches!(
            lookup("mi_heap_destroy", None),
            Some(Lookup::Unsupported { .. })
        ));
    }
}
