//! Numeric kernels of the rewritten stage plans: matrix products, convolutions, attention and what surrounds them, in
//! float32 and channels-last layout.
//!
//! Every kernel is one generic body over the vectors of an [`arch::Arch`], or one that the compiler vectorises, compiled
//! several times by [`arch::vectorised!`]: for AVX2 with FMA where the CPU has them (found at run time), and for what every CPU
//! of the target has (SSE2 on x86-64, NEON on aarch64). The tests hold each kernel against a plain triple loop.

pub mod activation;
pub mod arch;
pub mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
pub mod convolution;
mod cores;
pub mod depthwise;
pub mod math;
pub mod matmul;
pub mod memory;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod norm;
#[cfg(test)]
pub mod oracle;
pub mod pool;
#[cfg(test)]
mod speed;
pub mod team;
pub mod transpose;

pub use activation::Activation;
