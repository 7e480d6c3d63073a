//! Any bytes as a recording, or any lines as what its frames hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlens::recording::{Packer, Recording, first};
use memlens::render::{Format, Options};

fuzz_target!(|data: &[u8]| {
    let mut file = first();
    match data.split_first() {
        // Frames have checksums: what is in them is reached only with right ones.
        Some((kind, lines)) if kind % 8 != 0 => {
            let mut packer = Packer::new().expect("a packer");
            let lines = lines.split(|byte| *byte == b'\n');
            for line in lines.filter(|line| !line.is_empty()) {
                file.extend(packer.pack(line).expect("it is small"));
            }
        }
        _ => file.extend(data),
    }
    let Ok(recording) = Recording::of_bytes(file) else {
        return;
    };
    let all: Vec<usize> = (0..recording.moments().len()).collect();
    let _ = recording.profiles(&all, |_, profile| {
        for format in [Format::Text, Format::Pprof, Format::Html] {
            let mut out = Vec::new();
            format
                .renderer()
                .render(&profile, &Options::default(), &mut out)
                .expect("a vector takes all");
        }
    });
});
