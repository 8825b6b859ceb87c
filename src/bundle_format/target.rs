//! The CPU a bundle is made for, and what that decides.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use dyn_perceiver_kernels::Isa;
use dyn_perceiver_kernels::convolution::{Shape, Window, winograd};
use dyn_perceiver_kernels::dispatch::HalfIsa;
use dyn_perceiver_kernels::gemm::{KernelFamily, Reduction};
use dyn_perceiver_kernels::{depthwise, gemm};

/// A CPU that bundles can be made for.
///
/// It decides how weights are laid out. Today the kernels of all CPUs want the same layout, so a bundle made for one runs
/// on every other; should that change, a bundle whose layout is not the one wanted is refused when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    name: String,
    arch: String,
}

/// CPU names as compilers know them, with the architecture of each.
const CPUS: &[(&str, &str)] = &[
    ("cortex-a53", "aarch64"),
    ("cortex-a55", "aarch64"),
    ("cortex-a57", "aarch64"),
    ("cortex-a72", "aarch64"),
    ("cortex-a76", "aarch64"),
    ("cortex-a78ae", "aarch64"),
    ("x86-64", "x86_64"),
    ("x86-64-v2", "x86_64"),
    ("x86-64-v3", "x86_64"),
    ("x86-64-v4", "x86_64"),
];

impl Target {
    /// The CPUs that can be named.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CPUS.iter().map(|(name, _)| *name)
    }

    /// The architecture of the machine this runs on, without a CPU in particular.
    pub fn host() -> Target {
        let arch = std::env::consts::ARCH;
        Target { name: arch.to_owned(), arch: arch.to_owned() }
    }

    /// The CPU's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it multiplies halves: layers of many rows gain by that, where they lose by widening.
    pub(crate) fn multiplies_halves(&self) -> bool {
        match self.name.as_str() {
            "cortex-a55" | "cortex-a76" | "cortex-a78ae" => true,
            name => name == std::env::consts::ARCH && HalfIsa::best(Isa::best()).is_arithmetic(),
        }
    }

    /// Its architecture, as Rust names it.
    pub fn arch(&self) -> &str {
        &self.arch
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Target, UnknownTarget> {
        let host = Target::host();
        if name == host.name {
            return Ok(host);
        }
        let known = CPUS.iter().find(|(known, _)| *known == name);
        let (name, arch) = known.ok_or_else(|| UnknownTarget { name: name.to_owned() })?;
        Ok(Target { name: (*name).to_owned(), arch: (*arch).to_owned() })
    }
}

/// No CPU of that name is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no target {name:?}: expected {}, or {} for this machine", CPUS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "), std::env::consts::ARCH)]
pub struct UnknownTarget {
    name: String,
}

/// How the kernels want their weights in memory, as one number that is another for every other layout.
///
/// It is the checksum of packed samples, so that it follows the packing code and nobody has to remember a version.
pub(super) fn layout() -> u32 {
    let mut digest = crc32fast::Hasher::new();
    let mut add = |packed: &[f32]| packed.iter().for_each(|value| digest.update(&value.to_le_bytes()));
    let samples = |len: usize| (0..len).map(|i| i as f32 + 1.0).collect::<Vec<f32>>();

    // More columns than any panel is wide, and some left over.
    let (reduction, columns) = (3, 131);
    let mut packed = vec![0.0; gemm::packed_len(reduction, columns)];
    gemm::pack(reduction, columns, |k, n| (k * columns + n) as f32 + 1.0, &mut packed);
    add(&packed);

    let window = Window { input: [8, 8], output: [8, 8], kernel: [3, 2], stride: [1, 1], padding: [1, 1] };
    for groups in [1, 2] {
        let shape = Shape { window, channels_in: 4, channels_out: 2 * 67, groups };
        add(&shape.pack(&samples(4 / groups * 2 * 67 * 6)));
    }
    let square = Window { kernel: [3, 3], ..window };
    let shape = Shape { window: square, channels_in: 16, channels_out: 2 * 67, groups: 2 };
    add(&winograd::transform(&shape, &shape.pack(&samples(8 * 2 * 67 * 9))));
    add(&depthwise::pack(67, window.kernel, &samples(67 * 6)));
    let mut packed = vec![0_i8; KernelFamily::I8.packed_len(Reduction::whole(reduction), columns)];
    KernelFamily::I8.pack(Reduction::whole(reduction), columns, |k, n| (k * columns + n + 1) as i8, &mut packed);
    packed.iter().for_each(|weight| digest.update(&weight.to_le_bytes()));
    let mut packed = vec![0_u16; KernelFamily::F16.packed_len(Reduction::whole(reduction), columns)];
    KernelFamily::F16.pack(Reduction::whole(reduction), columns, |k, n| (k * columns + n + 1) as u16, &mut packed);
    packed.iter().for_each(|weight| digest.update(&weight.to_le_bytes()));
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_and_others_refused() {
        for name in Target::names() {
            assert_eq!(name.parse::<Target>().unwrap().name(), name);
        }
        assert_eq!("cortex-a72".parse::<Target>().unwrap().arch(), "aarch64");
        assert_eq!(std::env::consts::ARCH.parse::<Target>().unwrap(), Target::host());
        let error = "z80".parse::<Target>().unwrap_err().to_string();
        assert!(error.contains("z80") && error.contains("cortex-a72"), "{error}");
    }

    /// Computed apart from this code, from how the kernels document their weights. Another number is right where their
    /// layout was changed on purpose; every bundle has to be compiled anew then.
    #[test]
    fn the_layout_is_the_one_documented() {
        assert_eq!(layout(), 0xc776_c683);
    }
}
