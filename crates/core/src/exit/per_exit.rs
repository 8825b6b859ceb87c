//! One value per exit of a network, without an allocator.

use core::fmt;
use core::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use crate::inline::InlineVec;

/// The most exits a network may have: 16, and 8 without `std`, where a policy has to fit the memory of a microcontroller.
pub const MAX_EXITS: usize = if cfg!(feature = "std") { 16 } else { 8 };

/// One value for each exit of a network, in order of cost: 1 to [`MAX_EXITS`] of them. Read as a slice.
///
/// ```
/// use dyn_perceiver_core::exit::PerExit;
/// let shares = PerExit::new(&[0.75, 0.25])?;
/// assert_eq!(shares.iter().sum::<f32>(), 1.0);
/// # Ok::<(), dyn_perceiver_core::exit::ExitCountError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(bound(deserialize = "T: Deserialize<'de> + Clone"))]
pub struct PerExit<T>(InlineVec<T, MAX_EXITS>);

impl<T: Clone> PerExit<T> {
    /// The values of a slice.
    ///
    /// # Errors
    /// [`ExitCountError`] when there are none, or more than [`MAX_EXITS`].
    pub fn new(values: &[T]) -> Result<Self, ExitCountError> {
        let error = |_| ExitCountError { count: values.len() };
        InlineVec::from_slice(values).map(PerExit).map_err(error)
    }
}

impl<T> Deref for PerExit<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_slice()
    }
}

impl<T> DerefMut for PerExit<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_mut_slice()
    }
}

impl<T> AsRef<[T]> for PerExit<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<'a, T> IntoIterator for &'a PerExit<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Clone> TryFrom<&[T]> for PerExit<T> {
    type Error = ExitCountError;

    fn try_from(values: &[T]) -> Result<Self, ExitCountError> {
        PerExit::new(values)
    }
}

/// There are no values, or more than a network may have exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ExitCountError {
    /// How many values there are.
    pub count: usize,
}

impl fmt::Display for ExitCountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values, expected one per exit, 1 to {MAX_EXITS}", self.count)
    }
}

impl core::error::Error for ExitCountError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_exit_holds_one_value_for_each_possible_exit() {
        assert_eq!(PerExit::new(&[7; MAX_EXITS]).unwrap().len(), MAX_EXITS);
        for count in [0, MAX_EXITS + 1] {
            assert_eq!(PerExit::new(&std::vec![7; count]), Err(ExitCountError { count }));
        }
        let error = std::format!("{}", ExitCountError { count: 0 });
        assert_eq!(error, std::format!("0 values, expected one per exit, 1 to {MAX_EXITS}"));
    }
}
