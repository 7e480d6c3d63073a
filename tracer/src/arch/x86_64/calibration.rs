//! An instruction of our own to time a probe on.

std::arch::global_asm!(
    ".globl memlens_calibration_site",
    ".type memlens_calibration_site, @function",
    "memlens_calibration_site:",
    // The kernel emulates both, as it does at most of the sites that are probed.
    "push %rbp",
    "pop %rbp",
    "ret",
    ".size memlens_calibration_site, . - memlens_calibration_site",
    options(att_syntax)
);

unsafe extern "C" {
    /// Pushes a register, pops it again and returns.
    #[link_name = "memlens_calibration_site"]
    pub fn calibration_site();
}
