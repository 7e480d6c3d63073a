//! Profiles that were stored: recordings, and what `--json` writes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use jiff::tz::TimeZone;

use crate::profile::{Profile, history::Timeline};
use crate::recording::{Moment, Recording, When, is_recording};
use crate::symbolize::elsewhere::Elsewhere;
use crate::words::units::duration;

/// The name of standard input.
const STDIN: &str = "-";
/// Most profiles that a history is made of.
const HISTORY: usize = 120;

/// A file with profiles.
pub struct Stored {
    path: PathBuf,
    moments: Vec<Moment>,
    profiles: Profiles,
}

enum Profiles {
    Recording(Recording),
    /// In the order of the moments.
    Json(Vec<Profile>),
}

impl Stored {
    /// Looks through a file.
    ///
    /// # Errors
    /// What it is not, in one line.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let begin = begin(path).with_context(cannot)?;
        let is_stdin = path == Path::new(STDIN);
        let (moments, profiles) = if is_recording(&begin) {
            let recording = match is_stdin {
                true => Recording::of_bytes(begin),
                false => Recording::open(path),
            };
            let recording = recording.with_context(cannot)?;
            (recording.moments().to_vec(), Profiles::Recording(recording))
        } else {
            let text = match is_stdin {
                true => begin,
                false => std::fs::read(path).with_context(cannot)?,
            };
            let profiles = read_json(&text, path)?;
            (
                profiles.iter().map(moment).collect(),
                Profiles::Json(profiles),
            )
        };
        Ok(Self {
            path: path.to_owned(),
            moments,
            profiles,
        })
    }

    /// What its profiles are about, the heap first.
    pub fn tracks(&self) -> Vec<&str> {
        const ORDER: [&str; 4] = ["heap", "address_space", "kernel", "page_faults"];
        let mut tracks: Vec<&str> = Vec::new();
        for moment in &self.moments {
            if !tracks.contains(&moment.track.as_str()) {
                tracks.push(&moment.track);
            }
        }
        let place = |track: &&str| ORDER.iter().position(|known| known == track);
        tracks.sort_by_key(|track| place(track).unwrap_or(ORDER.len()));
        tracks
    }

    /// The moments of a track, each with its place in the file.
    pub fn moments(&self, track: &str) -> Vec<(usize, &Moment)> {
        let all = self.moments.iter().enumerate();
        all.filter(|(_, moment)| moment.track == track).collect()
    }

    /// The profile of a moment.
    ///
    /// # Errors
    /// That there is none, or what is wrong with the file.
    pub fn at(&self, track: &str, when: When) -> Result<Profile> {
        let place = self.place(track, when)?;
        let mut found = None;
        self.profiles(&[place], |_, profile| found = Some(profile))?;
        let mut profile = found.context("the file has changed while it was read")?;
        if let Profiles::Recording(recording) = &self.profiles
            && let Some(damage) = recording.damage()
        {
            let lost = "what was recorded after the last snapshot is lost";
            profile.notes.push(format!(
                "the end of the recording cannot be read: {damage}; {lost}"
            ));
        }
        Ok(profile)
    }

    /// Gives a profile the history of its track up to that moment.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn add_history(&self, track: &str, when: When, profile: &mut Profile) -> Result<()> {
        let end = self.place(track, when)?;
        let session = self.moments[end].session;
        let places = self.moments(track).into_iter();
        let places = places.filter(|(place, moment)| *place <= end && moment.session == session);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        if places.len() < 2 {
            return Ok(());
        }
        let mut timeline = Timeline::default();
        self.profiles(&spread(&places, HISTORY), |_, profile| {
            timeline.add(&profile)
        })?;
        timeline.fill(profile);
        Ok(())
    }

    fn place(&self, track: &str, when: When) -> Result<usize> {
        let moments = self.moments(track);
        let Some((_, first)) = moments.first() else {
            bail!("{} has nothing of {track}", self.path.display());
        };
        let (places, all): (Vec<usize>, Vec<&Moment>) = moments.iter().copied().unzip();
        let found = when.find(&all, &TimeZone::system());
        found.map(|found| places[found]).with_context(|| {
            format!(
                "{} has nothing from before that moment: it begins at {:.0}, {} into the trace",
                self.path.display(),
                first.time,
                duration(first.elapsed)
            )
        })
    }

    fn profiles(&self, wanted: &[usize], mut take: impl FnMut(usize, Profile)) -> Result<()> {
        match &self.profiles {
            Profiles::Recording(recording) => recording
                .profiles(wanted, take)
                .with_context(|| format!("cannot read {}", self.path.display())),
            Profiles::Json(profiles) => {
                let known = wanted
                    .iter()
                    .filter_map(|place| Some((*place, profiles.get(*place)?)));
                known.for_each(|(place, profile)| take(place, profile.clone()));
                Ok(())
            }
        }
    }
}

/// Names what a profile has no names for, from files elsewhere; says what was found.
pub fn name(profile: Profile, elsewhere: &mut Elsewhere) -> Profile {
    let named = elsewhere.name(profile);
    for failure in elsewhere.failures() {
        eprintln!("memlens: {failure}");
    }
    named
}

/// The begin of a file, or all of standard input, which can be read only once.
fn begin(path: &Path) -> io::Result<Vec<u8>> {
    const BEGIN: u64 = 1 << 10;
    let mut begin = Vec::new();
    match path == Path::new(STDIN) {
        true => io::stdin().read_to_end(&mut begin)?,
        false => File::open(path)?.take(BEGIN).read_to_end(&mut begin)?,
    };
    Ok(begin)
}

/// Some of many places, evenly spread, the first and the last among them.
fn spread(places: &[usize], most: usize) -> Vec<usize> {
    if places.len() <= most {
        return places.to_vec();
    }
    let of = |index: usize| places[index * (places.len() - 1) / (most - 1)];
    (0..most).map(of).collect()
}

/// The profiles of a file that `--json` has written: one on each line.
fn read_json(text: &[u8], path: &Path) -> Result<Vec<Profile>> {
    let shown = path.display();
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    let profiles: Result<Vec<Profile>, String> = lines.map(Profile::parse).collect();
    match profiles {
        Ok(profiles) if profiles.is_empty() => bail!("{shown} is empty"),
        Ok(profiles) => Ok(profiles),
        Err(why) => Err(anyhow!(
            "{shown} is neither a recording nor what --json writes: {why}"
        )),
    }
}

fn moment(profile: &Profile) -> Moment {
    Moment {
        track: profile.main_source().name().to_owned(),
        session: 0,
        time: profile.meta.time,
        elapsed: profile.meta.elapsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_from_the_first_to_the_last() {
        let places: Vec<usize> = (5..1000).collect();
        let spread = spread(&places, 120);
        assert_eq!((spread.len(), spread[0], spread[119]), (120, 5, 999));
        assert!(spread.is_sorted());
        assert_eq!(super::spread(&[3, 4], 120), [3, 4]);
    }
}
