//! Element types of checkpoints and their widening to float32.

use half::{bf16, f16};

/// How a number is stored, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// Bytes per number.
    pub(super) fn size(self) -> usize {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
        }
    }

    /// Widens all numbers of `bytes`; a last incomplete one is dropped.
    pub(super) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], one: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|&chunk| one(chunk)).collect()
        }
        match self {
            Element::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Element::F32 => each(bytes, f32::from_le_bytes),
            Element::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Element::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Element::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Element::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Element::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Element::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Element::U8 | Element::Bool => each(bytes, |[b]| f32::from(b)),
        }
    }
}
