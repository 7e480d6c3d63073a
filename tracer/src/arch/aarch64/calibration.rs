//! An instruction of our own to time a probe on.

std::arch::global_asm!(
    ".globl memlens_calibration_site",
    ".type memlens_calibration_site, %function",
    "memlens_calibration_site:",
    // The kernel simulates both, as it does at the cheapest of the sites that are probed.
    "adr x9, memlens_calibration_site",
    "ret",
    ".size memlens_calibration_site, . - memlens_calibration_site",
);

unsafe extern "C" {
    /// Writes a register that a call need not keep, and returns.
    #[link_name = "memlens_calibration_site"]
    pub fn calibration_site();
}
