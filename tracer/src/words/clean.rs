//! Text that is safe to print, and paths without what only tells where something was installed.

use std::borrow::Cow;

/// Text that is safe to print: what a traced program chose (names, paths) must not move the cursor, break a line or
/// change the reading direction.
pub fn clean(text: &str) -> Cow<'_, str> {
    // Most names are plain ASCII, which is fast to check.
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match is_plain || !text.chars().any(is_unprintable) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.replace(is_unprintable, "?")),
    }
}

/// Control characters, line separators and the marks that override the direction of text; and the two code points that
/// XML cannot hold.
fn is_unprintable(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// A source file's path without what only tells where a toolchain or a package was installed:
/// `rust/library/alloc/src/vec/mod.rs`, `serde-1.0.0/src/lib.rs`.
pub fn short_source(path: &str) -> Cow<'_, str> {
    let below_first_folder = |path| str::split_once(path, '/').map(|(_, rest)| rest);
    // Installed by rustup as a component: "library" and what it depends on are below.
    if let Some((_, rest)) = path.split_once("/lib/rustlib/src/rust/") {
        return format!("rust/{rest}").into();
    }
    // As the standard library was compiled: the first folder is the hash of the compiler's commit.
    if let Some(rest) = path.strip_prefix("/rustc/") {
        let rest = match rest.starts_with("library/") {
            true => Some(rest),
            false => below_first_folder(rest),
        };
        return rest.map_or_else(
            || path.into(),
            |rest| format!("rust/{}", rest.trim_start_matches('/')).into(),
        );
    }
    let package = path.strip_prefix("/rust/deps/").or_else(|| {
        let (_, index) = path.split_once("/registry/src/")?;
        below_first_folder(index)
    });
    package.unwrap_or(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_chose_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[31m\nb\u{202e}c"), "a?[31m?b?c");
        assert!(matches!(clean("operator<< [clone]"), Cow::Borrowed(_)));
    }

    #[test]
    fn where_sources_were_installed_is_left_out() {
        let cases = [
            (
                "/root/.rustup/toolchains/stable-x86_64-unknown-linux-gnu/lib/rustlib/src/rust/library/alloc/src/vec/mod.rs",
                "rust/library/alloc/src/vec/mod.rs",
            ),
            (
                "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/alloc/src/alloc.rs",
                "rust/library/alloc/src/alloc.rs",
            ),
            ("/rustc/library/core/src/a.rs", "rust/library/core/src/a.rs"),
            (
                "/rustc/5980//library/std/src/rt.rs",
                "rust/library/std/src/rt.rs",
            ),
            (
                "/rust/deps/hashbrown-0.15.5/src/raw.rs",
                "hashbrown-0.15.5/src/raw.rs",
            ),
            (
                "/home/me/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/serde-1.0.0/src/lib.rs",
                "serde-1.0.0/src/lib.rs",
            ),
            ("/build/victim/src/leak.c", "/build/victim/src/leak.c"),
            ("./csu/../csu/libc-start.c", "./csu/../csu/libc-start.c"),
            ("/rustc/odd", "/rustc/odd"),
            ("/registry/src/odd", "/registry/src/odd"),
            ("", ""),
        ];
        for (path, short) in cases {
            assert_eq!(short_source(path), short, "{path}");
        }
    }
}
