//! How much longer than usual a wait may take: an emulated machine is many times slower than a real one.

use std::sync::OnceLock;
use std::time::Duration;

/// The environment variable with the factor.
const VARIABLE: &str = "MEMLENS_TEST_PATIENCE";

/// The limit of a wait on this machine: as given, or as often as `MEMLENS_TEST_PATIENCE` says.
pub fn patient(limit: Duration) -> Duration {
    limit.saturating_mul(factor())
}

/// Whether this machine is so slow that a test should not do many times what differs little.
pub fn is_slow() -> bool {
    factor() > 1
}

fn factor() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| {
        std::env::var(VARIABLE)
            .ok()
            .and_then(|text| text.parse().ok())
            .map_or(1, |factor: u32| factor.max(1))
    })
}
