//! Compresses the committed BPF objects of the target's architecture, half a megabyte, to a fourth of that.

use std::{
    env,
    error::Error,
    fs::{self, File},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

/// As `cargo xtask ebpf` names them.
const PROGRAMS: [&str; 3] = ["memlens", "kernel", "registers"];

fn main() -> Result<(), Box<dyn Error>> {
    let suffix = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "aarch64" => "aarch64.bpf.o",
        _ => "bpf.o",
    };
    let out = env::var("OUT_DIR")?;
    println!("cargo::rerun-if-changed=build.rs");
    for program in PROGRAMS {
        let object = format!("src/bpf/{program}.{suffix}");
        println!("cargo::rerun-if-changed={object}");
        let packed = File::create(Path::new(&out).join(format!("{program}.bpf.o.gz")))?;
        let mut packed = GzEncoder::new(packed, Compression::best());
        std::io::Write::write_all(&mut packed, &fs::read(object)?)?;
        packed.finish()?;
    }
    Ok(())
}
