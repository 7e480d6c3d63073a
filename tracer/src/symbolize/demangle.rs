//! Mangled names of C++ and Rust functions as their source has them.

use std::borrow::Cow;

/// The prefixes that mark a mangled name: Itanium C++ and legacy Rust, Rust v0, blocks of C++, and each of these with
/// the underscore that some assemblers add. Demanglers also take names without a prefix, as those of types: a C
/// function `f` would be a `float`.
const PREFIXES: [&str; 5] = ["_Z", "__Z", "___Z", "_R", "__R"];

/// A symbol's name for a reader. A name that is not mangled, or not in a known way, stays as it is.
pub fn demangle(name: &str) -> Cow<'_, str> {
    if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Cow::Borrowed(name);
    }
    // Legacy Rust names are C++ names with a hash for a last part, so Rust comes first.
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        // The alternate form leaves the hash out.
        return Cow::Owned(format!("{rust:#}"));
    }
    let cplusplus = cpp_demangle::Symbol::new(name).ok();
    match cplusplus.and_then(|symbol| symbol.demangle().ok()) {
        Some(text) => Cow::Owned(without_clone_note(text)),
        None => Cow::Borrowed(name),
    }
}

/// Drops the demangler's note on a copy that the compiler has specialized: "f(int) [clone .isra.0]".
fn without_clone_note(mut text: String) -> String {
    if let Some(at) = text.find(" [clone ") {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::demangle;

    #[test]
    fn only_mangled_names_are_changed() {
        let cases = [
            ("_ZN5space5Thing5whereEi", "space::Thing::where(int)"),
            ("__ZN5space5Thing5whereEi", "space::Thing::where(int)"),
            ("_Z1fi.isra.0", "f(int)"),
            ("_ZN4core3ptr4read17h0123456789abcdefE", "core::ptr::read"),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_Znwm", "operator new(unsigned long)"),
        ];
        for (mangled, name) in cases {
            assert_eq!(demangle(mangled), name, "{mangled}");
        }
    }

    #[test]
    fn names_of_c_stay_as_they_are() {
        let as_types = ["re", "f", "St", "i", "v", "d", "Ss", "PKc", "DnDn"];
        let without_prefix = ["ZN4testE", "RNvC6_123foo3bar", "Z1fi"];
        let broken = ["_Z", "_ZN", "_R", "_ZN5spa", "_Zombie", "_Reset", ""];
        for name in as_types.iter().chain(&without_prefix).chain(&broken) {
            assert_eq!(demangle(name), *name);
        }
    }
}
