//! Numeric kernels of the rewritten stage plans: matrix products, convolutions, attention and what surrounds them, in
//! float32 and channels-last layout.
//!
//! Every kernel is one generic body over the vectors of an [`arch::Arch`], or one that the compiler vectorises, compiled
//! several times by [`arch::vectorised!`]: for AVX2 with FMA where the CPU has them (found at run time), and for what every CPU
//! of the target has (SSE2 on x86-64, NEON on aarch64). The tests hold each kernel against a plain triple loop.

pub(crate) mod activation;
pub(crate) mod arch;
pub(crate) mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
pub(crate) mod convolution;
mod cores;
pub(crate) mod depthwise;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod memory;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod norm;
#[cfg(test)]
pub(crate) mod oracle;
pub(crate) mod pool;
#[cfg(test)]
mod speed;
pub(crate) mod team;
pub(crate) mod transpose;

pub(crate) use activation::Activation;
