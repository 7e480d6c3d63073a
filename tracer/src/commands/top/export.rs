//! Writes what is seen to a file.

use std::path::Path;

use crate::profile::Source;
use crate::render::{Format, Options, file};
use crate::top::App;

/// Writes what the view shows; what there is to say of that.
pub fn write(app: &App, path: &Path) -> String {
    match written(app, path) {
        Ok(()) => format!("wrote {}", path.display()),
        Err(why) => why,
    }
}

fn written(app: &App, path: &Path) -> Result<(), String> {
    let format = Format::of_path(path).ok_or_else(|| {
        format!(
            "cannot tell the form of {}: end it in {}",
            path.display(),
            Format::endings()
        )
    })?;
    let profile = app.seen().ok_or("there is nothing to write yet")?;
    let source = app.source();
    let is_table = source == Source::Process;
    if is_table && !matches!(format, Format::Json | Format::Text) {
        return Err(format!(
            "a table of processes has no stacks for {}: end it in .json or .txt, or open a process",
            path.display()
        ));
    }
    let options = Options {
        measure: Some(source.level()),
        ..Options::default()
    };
    let done = file::write_file(path, |out| {
        format.renderer().render(&profile, &options, out)
    });
    done.map_err(|error| error.to_string())
}
