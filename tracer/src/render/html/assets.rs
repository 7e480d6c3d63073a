//! The files that the page is made of. They are in `tracer/assets`, and nothing is fetched when it is opened.

/// The markup of the body.
pub const BODY: &str = include_str!("../../../assets/report/page.html");

/// The style sheets, in their order.
pub const STYLES: &[&str] = &[
    include_str!("../../../assets/uplot/uPlot.min.css"),
    include_str!("../../../assets/report/report.css"),
];

macro_rules! scripts {
    ($($name:literal)+) => {
        /// The scripts of the report, in their order.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),+];

        /// The scripts, in their order: uPlot, then those of the report.
        pub const SCRIPTS: &[&str] = &[
            include_str!("../../../assets/uplot/uPlot.iife.min.js"),
            $(include_str!(concat!("../../../assets/report/", $name)),)+
        ];
    };
}

scripts! {
    "format.js" "data.js" "values.js" "tree.js" "search.js" "colors.js" "dom.js" "describe.js" "flame.js"
    "header.js" "series.js" "stack.js" "table.js" "ages.js" "treemap.js" "lists.js" "tooltip.js" "controls.js"
    "main.js"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use sha2::{Digest, Sha256};

    use super::*;

    fn folder() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"))
    }

    /// The browser tests read the order from the file.
    #[test]
    fn the_order_is_that_of_the_browser_tests() {
        let order = fs::read_to_string(folder().join("report/order.txt")).expect("the order");
        assert_eq!(order.lines().collect::<Vec<_>>(), NAMES);
        let entries = fs::read_dir(folder().join("report")).expect("the folder");
        let scripts = entries.filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            Path::new(&name)
                .extension()
                .is_some_and(|ending| ending == "js")
        });
        assert_eq!(scripts.count(), NAMES.len());
    }

    /// What is not ours is byte for byte what was published.
    #[test]
    fn vendored_files_have_their_checksums() {
        let folder = folder().join("uplot");
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("the checksums");
        let mut files = 0;
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").expect("a checksum and a name");
            let digest = Sha256::digest(fs::read(folder.join(name)).expect(name));
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, sum, "{name}");
            files += 1;
        }
        assert_eq!(files, 3);
    }
}
