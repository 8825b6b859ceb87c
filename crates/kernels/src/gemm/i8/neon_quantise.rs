//! Rows of f32 as signed bytes in NEON: 27 instructions for sixteen entries.

use std::arch::aarch64::{
    int16x8_t, int32x4_t, vcombine_s8, vcombine_s16, vcvtnq_s32_f32, vdupq_n_f32, vdupq_n_s16, vld1q_f32, vmaxnmq_f32,
    vmulq_f32, vqaddq_s16, vqmovn_s16, vqmovn_s32, vst1q_s8,
};

use super::byte;

/// Entries that are turned into bytes at once.
const ENTRIES: usize = 16;

/// As `super::quantise_body` for one row, or rows without padding: the bytes are 128 less.
#[inline(always)]
pub(super) fn row(x: &[f32], (inverse, zero_point): (f32, u8), bytes: &mut [u8]) {
    assert!(bytes.len() >= x.len(), "{} bytes for {} entries", bytes.len(), x.len());
    if x.len() < ENTRIES {
        return bytes.iter_mut().zip(x).for_each(|(to, x)| *to = byte(*x, (inverse, zero_point), 0x80));
    }
    let mut at = 0;
    loop {
        // SAFETY: sixteen entries from `at` on are read, and as many bytes written, which both slices have: that is what `at` is
        // held to. Every aarch64 target has NEON.
        unsafe {
            let from = x.as_ptr().add(at);
            let (scale, low) = (vdupq_n_f32(inverse), vdupq_n_f32(-f32::from(zero_point)));
            // The larger of a number and no number is the number. Beyond 32 bits the conversion saturates, as do the steps after it.
            let whole = |v: usize| -> int32x4_t {
                vcvtnq_s32_f32(vmaxnmq_f32(vmulq_f32(vld1q_f32(from.add(4 * v)), scale), low))
            };
            let shift = vdupq_n_s16(i16::from(zero_point) - 128);
            let half = |v: usize| -> int16x8_t {
                vqaddq_s16(vcombine_s16(vqmovn_s32(whole(v)), vqmovn_s32(whole(v + 1))), shift)
            };
            let result = vcombine_s8(vqmovn_s16(half(0)), vqmovn_s16(half(2)));
            vst1q_s8(bytes.as_mut_ptr().add(at).cast(), result);
        }
        at += ENTRIES;
        if at + ENTRIES > x.len() {
            if at >= x.len() {
                return;
            }
            // The last sixteen overlap those before, and are the same again.
            at = x.len() - ENTRIES;
        }
    }
}

/// As `super::quantise_body`, row by row.
pub(super) fn rows(x: &[f32], reduction: usize, padded: usize, scheme: (f32, u8), bytes: &mut [u8]) {
    if padded == reduction {
        return row(x, scheme, bytes);
    }
    for (bytes, x) in bytes.chunks_exact_mut(padded).zip(x.chunks_exact(reduction)) {
        row(x, scheme, bytes);
        bytes[reduction..].fill(0);
    }
}
