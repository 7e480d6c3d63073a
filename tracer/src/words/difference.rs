//! What a difference is a difference from, in words.

use super::units::duration;
use crate::profile::{Difference, Profile};

/// "compared with 10m00s earlier", "compared with another run".
pub fn since(profile: &Profile, difference: &Difference) -> String {
    let apart = profile.meta.time.duration_since(difference.before.time);
    match difference.same_run {
        true => format!("compared with {} earlier", duration(apart.unsigned_abs())),
        false => "compared with another run".to_owned(),
    }
}
