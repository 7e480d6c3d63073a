//! What a profile says of the host that it was taken on.

use jiff::Timestamp;

use crate::profile::Meta;

/// A profile's head: of this moment, on this host.
pub fn meta() -> Meta {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
    };
    Meta {
        time: Timestamp::now(),
        host: read("/proc/sys/kernel/hostname"),
        kernel: read("/proc/sys/kernel/osrelease"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Meta::default()
    }
}
