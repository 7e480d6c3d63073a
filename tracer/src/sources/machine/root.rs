//! The folder under which `/proc` and `/sys` are looked up: the machine's own root, or a recorded tree in tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Where `/proc` and `/sys` are.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// This machine.
    pub fn machine() -> Self {
        Self("/".into())
    }

    /// A tree that was recorded.
    pub fn of(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// A path below it; a leading slash makes no difference.
    pub fn path(&self, inner: impl AsRef<Path>) -> PathBuf {
        let inner = inner.as_ref();
        self.0.join(inner.strip_prefix("/").unwrap_or(inner))
    }

    /// The text of a file, if it can be read.
    pub fn text(&self, inner: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(inner)).ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A tree of files under construction.
    pub struct Tree(tempfile::TempDir);

    impl Tree {
        pub fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder can be made"))
        }

        pub fn with(self, path: &str, text: impl AsRef<[u8]>) -> Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("has a folder")).expect("is made");
            fs::write(path, text).expect("is written");
            self
        }

        pub fn folder(self, path: &str) -> Self {
            fs::create_dir_all(self.0.path().join(path)).expect("is made");
            self
        }

        pub fn remove(&self, path: &str) {
            fs::remove_dir_all(self.0.path().join(path)).expect("is removed");
        }

        pub fn root(&self) -> Root {
            Root::of(self.0.path())
        }
    }

    #[test]
    fn a_leading_slash_does_not_leave_the_tree() {
        let root = Root::of(Path::new("/recorded"));
        assert_eq!(root.path("/proc/1"), Path::new("/recorded/proc/1"));
        assert_eq!(root.path("proc/1"), Path::new("/recorded/proc/1"));
    }
}
