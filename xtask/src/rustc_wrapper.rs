//! Makes the BPF build independent of the checkout's folder: xtask as cargo's rustc wrapper.
//!
//! Cargo derives `-C metadata` of a path dependency outside the workspace (tracer-common, seen from tracer-ebpf) from
//! its absolute path. The value ends up in symbol names and in the order of functions, so the wrapper replaces it by
//! the package's name and version.

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::Result;

const REQUEST: &str = "MEMLENS_XTASK_WRAPS_RUSTC";

/// Makes a cargo command run every rustc through this very program.
pub fn install(cargo: &mut Command) -> Result<()> {
    cargo
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env(REQUEST, "1");
    Ok(())
}

/// Whether cargo started this process in place of rustc.
pub fn requested() -> bool {
    std::env::var_os(REQUEST).is_some()
}

/// Replaces this process by rustc with the path-free metadata.
pub fn run() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(rustc) = args.next() else {
        eprintln!("xtask: started as a rustc wrapper without a rustc");
        return ExitCode::FAILURE;
    };
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let err = Command::new(&rustc)
        .args(args.map(|arg| path_free(arg, &package, &version)))
        .exec();
    eprintln!("xtask: cannot run {}: {err}", rustc.to_string_lossy());
    ExitCode::FAILURE
}

/// The argument, with cargo's metadata value replaced by one that does not depend on a path.
fn path_free(arg: OsString, package: &str, version: &str) -> OsString {
    if arg.as_encoded_bytes().starts_with(b"metadata=") {
        OsStr::new(&format!("metadata={package}-{version}")).to_owned()
    } else {
        arg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_loses_its_hash() {
        let new = path_free("metadata=0123456789abcdef".into(), "tracer-common", "0.1.0");
        assert_eq!(new, "metadata=tracer-common-0.1.0");
    }

    #[test]
    fn other_arguments_stay() {
        for arg in ["--crate-name", "extra-filename=-0123", "src/lib.rs"] {
            assert_eq!(path_free(arg.into(), "p", "1"), arg);
        }
    }
}
