//! SIMD kernels in f32 and NHWC layout: GEMM, convolution as implicit GEMM, depthwise convolution, attention, norms,
//! pooling, and the thread pool that they share work on.
//!
//! Every kernel is one generic body over the vectors of [`simd::Simd`], or one that the compiler vectorises, compiled once
//! for each instruction set; [`dispatch`] picks one at run time. [`gemm`] packs weights and drives micro-kernels, whose
//! element types, tiles and packed layouts are their own. The tests hold each kernel against a plain triple loop, on every
//! instruction set of the CPU and on one to four threads.
//!
//! This crate is made for `dyn-perceiver` and exempt from semver.

mod activation;
mod affinity;
pub mod attention;
pub mod convolution;
pub mod depthwise;
pub mod dispatch;
pub mod fake_quantise;
mod fragments;
pub mod gemm;
#[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "no other CPU multiplies halves"))]
pub mod halves;
mod math;
pub mod memory;
pub mod norm;
#[cfg(test)]
mod oracle;
pub mod pooled_depthwise;
pub mod pooling;
pub mod simd;
pub mod sink;
#[doc(hidden)]
pub mod testing;
pub mod thread_pool;
pub mod transpose;

pub use activation::Activation;
pub use dispatch::{Isa, IsaError, isa, select_isa};
