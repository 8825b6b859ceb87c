//! Packed layouts of B, named: what a stored bundle says of its weights, so that a loader can repack or refuse them.
//!
//! B is packed into panels of NR columns. Inside a panel, `group` consecutive entries of a column lie next to each other:
//! 1 for kernels that multiply one row of B at a time, 4 for int8 dot products, which take four entries a lane. Each
//! fragment of the reduction (see [`Fragments`](super::Fragments)) is padded with zeros to whole groups, and the last
//! panel to NR columns.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Element type of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Signed 8-bit integers.
    I8,
}

impl Element {
    const ALL: [Element; 3] = [Element::F32, Element::F16, Element::I8];

    /// The name in a family's name.
    pub const fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::I8 => "i8",
        }
    }
}

/// Length of a GEMM's reduction (K): `fragments` pieces of `len` entries. A matrix has one fragment; an implicit-GEMM
/// convolution has one for each position under its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reduction {
    /// Fragments of a row of A.
    pub fragments: usize,
    /// Entries of a fragment.
    pub len: usize,
}

impl Reduction {
    /// A reduction in one piece.
    pub const fn whole(len: usize) -> Reduction {
        Reduction { fragments: 1, len }
    }

    /// K: entries of a row of A.
    pub const fn entries(self) -> usize {
        self.fragments * self.len
    }
}

/// A family of micro-kernels that read the same packed weights: element type, NR, and how many entries of a column lie
/// together. Shown and parsed as `f32-nr16` or `i8-nr16-k4`.
///
/// ```
/// use dyn_perceiver_kernels::gemm::KernelFamily;
///
/// let family: KernelFamily = "f32-nr16".parse()?;
/// assert_eq!(family, KernelFamily::F32);
/// assert_eq!(family.to_string(), "f32-nr16");
/// # Ok::<(), dyn_perceiver_kernels::gemm::UnknownFamily>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KernelFamily {
    element: Element,
    nr: usize,
    group: usize,
}

/// A name that is no kernel family's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no kernel family {name:?}: expected a name such as f32-nr16 or i8-nr16-k4")]
pub struct UnknownFamily {
    name: String,
}

/// NR and groups of a family are sizes of registers; a stored name must not ask for more memory than that.
const LARGEST: usize = 256;

impl KernelFamily {
    /// f32 in panels of 16 columns: the layout of every f32 kernel of this crate.
    pub const F32: KernelFamily = KernelFamily::new(Element::F32, 16, 1);

    /// Signed bytes in panels of 16 columns, four entries of a column together: the layout of every int8 kernel of this
    /// crate, whatever the instruction set. A row of groups is a cache line.
    pub const I8: KernelFamily = KernelFamily::new(Element::I8, 16, 4);

    /// Halves in panels of 16 columns: the layout of every f16 kernel of this crate.
    pub const F16: KernelFamily = KernelFamily::new(Element::F16, 16, 1);

    /// The layouts that this crate has a kernel for; weights of another are refused.
    const SUPPORTED: [KernelFamily; 3] = [KernelFamily::F32, KernelFamily::F16, KernelFamily::I8];

    /// A family by its parts.
    pub(crate) const fn new(element: Element, nr: usize, group: usize) -> KernelFamily {
        assert!(nr >= 1 && nr <= LARGEST && group >= 1 && group <= LARGEST, "NR and group are sizes of registers");
        KernelFamily { element, nr, group }
    }

    /// Whether this crate has a kernel that reads this layout.
    pub fn is_supported(self) -> bool {
        KernelFamily::SUPPORTED.contains(&self)
    }

    /// Element type of the packed weights.
    pub const fn element(self) -> Element {
        self.element
    }

    /// Columns of a panel.
    pub const fn nr(self) -> usize {
        self.nr
    }

    /// Entries of a column that lie next to each other.
    pub const fn group(self) -> usize {
        self.group
    }

    /// Elements of one packed panel.
    pub const fn panel_len(self, reduction: Reduction) -> usize {
        reduction.fragments * reduction.len.next_multiple_of(self.group) * self.nr
    }

    /// Elements of packed weights with this reduction and so many columns.
    pub const fn packed_len(self, reduction: Reduction, columns: usize) -> usize {
        columns.div_ceil(self.nr) * self.panel_len(reduction)
    }

    /// Packs B, whose entry (k, n) is `weight(k, n)`, into all of `packed`.
    ///
    /// # Panics
    /// `packed` does not have [`KernelFamily::packed_len`] elements.
    pub fn pack<T: Copy + Default>(
        self,
        reduction: Reduction,
        columns: usize,
        weight: impl Fn(usize, usize) -> T,
        packed: &mut [T],
    ) {
        assert_eq!(packed.len(), self.packed_len(reduction, columns), "packed weights");
        let mut places = packed.iter_mut();
        self.visit(reduction, columns, |place| {
            if let Some(packed) = places.next() {
                *packed = place.map_or_else(T::default, |(k, n)| weight(k, n));
            }
        });
    }

    /// The inverse of [`KernelFamily::pack`]: B in row-major order.
    ///
    /// # Panics
    /// `packed` does not have [`KernelFamily::packed_len`] elements.
    pub fn unpack<T: Copy + Default>(self, reduction: Reduction, columns: usize, packed: &[T]) -> Vec<T> {
        assert_eq!(packed.len(), self.packed_len(reduction, columns), "packed weights");
        let mut weights = vec![T::default(); reduction.entries() * columns];
        let mut values = packed.iter();
        self.visit(reduction, columns, |place| {
            if let (Some(value), Some((k, n))) = (values.next(), place) {
                weights[k * columns + n] = *value;
            }
        });
        weights
    }

    /// Calls `f` for each packed element in order, with the entry (k, n) of B that it holds; none for padding.
    #[inline(always)]
    fn visit(self, reduction: Reduction, columns: usize, mut f: impl FnMut(Option<(usize, usize)>)) {
        for panel in (0..columns).step_by(self.nr) {
            for fragment in 0..reduction.fragments {
                for first in (0..reduction.len).step_by(self.group) {
                    for n in panel..panel + self.nr {
                        for i in first..first + self.group {
                            let is_entry = n < columns && i < reduction.len;
                            f(is_entry.then_some((fragment * reduction.len + i, n)));
                        }
                    }
                }
            }
        }
    }
}

impl fmt::Display for KernelFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-nr{}", self.element.name(), self.nr)?;
        if self.group > 1 { write!(f, "-k{}", self.group) } else { Ok(()) }
    }
}

impl FromStr for KernelFamily {
    type Err = UnknownFamily;

    fn from_str(name: &str) -> Result<KernelFamily, UnknownFamily> {
        let number = |part: &str, key: &str| -> Option<usize> {
            part.strip_prefix(key)?.parse().ok().filter(|n| (1..=LARGEST).contains(n))
        };
        let parse = || {
            let mut parts = name.split('-');
            let element = parts.next()?;
            let element = Element::ALL.into_iter().find(|known| known.name() == element)?;
            let nr = number(parts.next()?, "nr")?;
            let group = parts.next().map_or(Some(1), |part| number(part, "k"))?;
            let family = KernelFamily { element, nr, group };
            // One name for one family: no leading zeros, no `-k1`, nothing behind.
            (family.to_string() == name).then_some(family)
        };
        parse().ok_or_else(|| UnknownFamily { name: name.to_owned() })
    }
}

impl TryFrom<String> for KernelFamily {
    type Error = UnknownFamily;

    fn try_from(name: String) -> Result<KernelFamily, UnknownFamily> {
        name.parse()
    }
}

impl From<KernelFamily> for String {
    fn from(family: KernelFamily) -> String {
        family.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::cases;

    #[test]
    fn kernel_family_names_are_parsed_and_others_refused() {
        for (family, name) in KernelFamily::SUPPORTED.into_iter().zip(["f32-nr16", "f16-nr16", "i8-nr16-k4"]) {
            assert_eq!(family.to_string(), name);
            assert_eq!(name.parse::<KernelFamily>().unwrap(), family);
            assert!(family.is_supported());
        }
        let f16: KernelFamily = "f16-nr24".parse().unwrap();
        assert_eq!((f16.element(), f16.nr(), f16.group()), (Element::F16, 24, 1));
        assert!(!f16.is_supported());
        for name in ["", "f32", "f32-nr0", "f32-nr016", "f32-nr16-k1", "f32-nr16-k2-", "f64-nr8", "f32-nr99999"] {
            let error = name.parse::<KernelFamily>().unwrap_err();
            let expected = format!("no kernel family {name:?}: expected a name such as f32-nr16 or i8-nr16-k4");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn packed_layout_is_the_one_documented() {
        let family: KernelFamily = "i8-nr2-k2".parse().unwrap();
        let reduction = Reduction { fragments: 2, len: 3 };
        let mut packed = vec![0_i8; family.packed_len(reduction, 3)];
        // Entry (k, n) is 10 * k + n + 1; fragments have three entries and are padded to four, columns to four.
        family.pack(reduction, 3, |k, n| (10 * k + n + 1) as i8, &mut packed);
        let first_panel = [1, 11, 2, 12, 21, 0, 22, 0, 31, 41, 32, 42, 51, 0, 52, 0];
        let second_panel = [3, 13, 0, 0, 23, 0, 0, 0, 33, 43, 0, 0, 53, 0, 0, 0];
        assert_eq!(packed, [first_panel, second_panel].concat());
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn unpacked_weights_are_those_that_were_packed(
            fragments in 1_usize..4, len in 1_usize..9, columns in 1_usize..40, nr in 1_usize..20, group in 1_usize..5,
        ) {
            let family = KernelFamily::new(Element::F32, nr, group);
            let reduction = Reduction { fragments, len };
            let weights: Vec<f32> = (0..reduction.entries() * columns).map(|i| i as f32 + 1.0).collect();
            let mut packed = vec![f32::NAN; family.packed_len(reduction, columns)];
            family.pack(reduction, columns, |k, n| weights[k * columns + n], &mut packed);
            prop_assert_eq!(family.unpack(reduction, columns, &packed), weights);
        }
    }
}
