//! How much longer than usual a wait may take: an emulated machine is many times slower than a real one.

use std::sync::OnceLock;
use std::time::Duration;

/// The environment variable with the factor.
const VARIABLE: &str = "MEMLENS_TEST_PATIENCE";

/// The limit of a wait on this machine: as given, or as often as `MEMLENS_TEST_PATIENCE` says.
pub fn patient(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| {
        std::env::var(VARIABLE)
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(1, |factor: u32| factor.max(1))
    });
    limit.saturating_mul(*factor)
}
