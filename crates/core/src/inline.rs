//! Sequences of bounded length: what firmware without an allocator uses in place of `Vec` and `String`.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// At least one and at most `N` values, stored inline. Read as a slice; written by serde as a sequence.
///
/// Places beyond the length hold copies of the first value, so that no type needs a default.
#[derive(Clone)]
pub(crate) struct InlineVec<T, const N: usize> {
    values: [T; N],
    len: usize,
}

/// A sequence is empty or longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LengthError;

impl<T: Clone, const N: usize> InlineVec<T, N> {
    /// The values of a slice.
    pub(crate) fn from_slice(values: &[T]) -> Result<Self, LengthError> {
        let Some(first) = values.first() else { return Err(LengthError) };
        if values.len() > N {
            return Err(LengthError);
        }
        let values_or_first = |index| values.get(index).unwrap_or(first).clone();
        Ok(InlineVec { values: core::array::from_fn(values_or_first), len: values.len() })
    }

    /// One value, to which others may be appended.
    pub(crate) fn one(value: T) -> Self {
        InlineVec { values: core::array::from_fn(|_| value.clone()), len: 1 }
    }
}

impl<T, const N: usize> InlineVec<T, N> {
    /// Appends a value.
    pub(crate) fn push(&mut self, value: T) -> Result<(), LengthError> {
        let place = self.values.get_mut(self.len).ok_or(LengthError)?;
        *place = value;
        self.len += 1;
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        self.values.get(..self.len).unwrap_or(&self.values)
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        self.values.get_mut(..self.len).unwrap_or_default()
    }
}

/// What sequences of bounded length have in common: they are read as slices and written as sequences.
macro_rules! sequence {
    ($vec:ident, $visitor:ident) => {
        impl<T, const N: usize> Deref for $vec<T, N> {
            type Target = [T];

            fn deref(&self) -> &[T] {
                self.as_slice()
            }
        }

        impl<T: PartialEq, const N: usize> PartialEq for $vec<T, N> {
            fn eq(&self, other: &Self) -> bool {
                self.as_slice() == other.as_slice()
            }
        }

        impl<T: fmt::Debug, const N: usize> fmt::Debug for $vec<T, N> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.as_slice().fmt(f)
            }
        }

        #[cfg(feature = "defmt")]
        impl<T: defmt::Format, const N: usize> defmt::Format for $vec<T, N> {
            fn format(&self, f: defmt::Formatter<'_>) {
                self.as_slice().format(f);
            }
        }

        impl<T: Serialize, const N: usize> Serialize for $vec<T, N> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.as_slice().serialize(serializer)
            }
        }

        impl<'de, T: Deserialize<'de> + Clone, const N: usize> Deserialize<'de> for $vec<T, N> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_seq($visitor(PhantomData))
            }
        }

        struct $visitor<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Clone, const N: usize> Visitor<'de> for $visitor<T, N> {
            type Value = $vec<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a sequence of 1 to {N} values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
                let first = sequence.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let mut values = $vec::one(first);
                while let Some(value) = sequence.next_element()? {
                    values.push(value).map_err(|LengthError| A::Error::invalid_length(N + 1, &self))?;
                }
                Ok(values)
            }
        }
    };
}

sequence!(InlineVec, InlineSequence);

/// At least one and at most `N` values, for long sequences: where there is an allocator, they lie on the heap. As a local of
/// each function that hands them on, they would fill the stack of a thread.
#[cfg(feature = "std")]
#[derive(Clone)]
pub(crate) struct LongVec<T, const N: usize>(std::vec::Vec<T>);

#[cfg(feature = "std")]
impl<T: Clone, const N: usize> LongVec<T, N> {
    /// The values of a slice.
    pub(crate) fn from_slice(values: &[T]) -> Result<Self, LengthError> {
        if (1..=N).contains(&values.len()) { Ok(LongVec(values.to_vec())) } else { Err(LengthError) }
    }

    fn one(value: T) -> Self {
        LongVec(std::vec![value])
    }
}

#[cfg(feature = "std")]
impl<T, const N: usize> LongVec<T, N> {
    fn push(&mut self, value: T) -> Result<(), LengthError> {
        if self.0.len() >= N {
            return Err(LengthError);
        }
        self.0.push(value);
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.0
    }
}

#[cfg(feature = "std")]
sequence!(LongVec, LongSequence);

#[cfg(not(feature = "std"))]
pub(crate) use InlineVec as LongVec;

/// UTF-8 text of at most `N` bytes, stored inline.
#[derive(Clone, Copy)]
pub(crate) struct InlineStr<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> InlineStr<N> {
    pub(crate) fn new(text: &str) -> Result<Self, LengthError> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len()).ok_or(LengthError)?.copy_from_slice(text.as_bytes());
        Ok(InlineStr { bytes, len: text.len() })
    }

    pub(crate) fn as_str(&self) -> &str {
        // Whole texts only are stored, so that this is always UTF-8.
        let text = self.bytes.get(..self.len).map(core::str::from_utf8);
        text.and_then(Result::ok).unwrap_or_default()
    }
}

impl<const N: usize> Default for InlineStr<N> {
    fn default() -> Self {
        InlineStr { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> PartialEq for InlineStr<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<const N: usize> fmt::Debug for InlineStr<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for InlineStr<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        self.as_str().format(f);
    }
}

impl<const N: usize> Serialize for InlineStr<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, const N: usize> Deserialize<'de> for InlineStr<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

struct Text<const N: usize>;

impl<const N: usize> Visitor<'_> for Text<N> {
    type Value = InlineStr<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text of at most {N} bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        InlineStr::new(text).map_err(|LengthError| E::invalid_length(text.len(), &self))
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn inline_vec_holds_one_to_n_values() {
        type Three = InlineVec<u16, 3>;
        assert_eq!(Three::from_slice(&[]).unwrap_err(), LengthError);
        assert_eq!(Three::from_slice(&[1; 4]).unwrap_err(), LengthError);
        let mut values = Three::from_slice(&[1, 2]).unwrap();
        assert_eq!((values.as_slice(), values.len()), (&[1, 2][..], 2));
        values.push(3).unwrap();
        assert_eq!(values.push(4), Err(LengthError));
        values.as_mut_slice()[0] = 9;
        assert_eq!(&*values, [9, 2, 3]);
        assert_eq!(std::format!("{values:?}"), "[9, 2, 3]");
    }

    #[test]
    fn inline_vec_is_a_sequence_in_json_and_postcard() {
        let values = InlineVec::<u16, 3>::from_slice(&[1, 2]).unwrap();
        assert_eq!(serde_json::to_string(&values).unwrap(), "[1,2]");
        assert_eq!(postcard::to_allocvec(&values).unwrap(), [2, 1, 2]);
        assert_eq!(postcard::from_bytes::<InlineVec<u16, 3>>(&[2, 1, 2]).unwrap(), values);
        for bad in ["[]", "[1,2,3,4]", "1"] {
            let error = serde_json::from_str::<InlineVec<u16, 3>>(bad).unwrap_err().to_string();
            assert!(error.contains("a sequence of 1 to 3 values"), "{error}");
        }
    }

    #[test]
    fn long_vec_holds_one_to_n_values() {
        type Three = LongVec<u16, 3>;
        assert!(Three::from_slice(&[]).is_err() && Three::from_slice(&[1; 4]).is_err());
        let values = Three::from_slice(&[1, 2]).unwrap();
        assert_eq!(serde_json::to_string(&values).unwrap(), "[1,2]");
        assert_eq!(postcard::from_bytes::<Three>(&[2, 1, 2]).unwrap(), values);
        for bad in ["[]", "[1,2,3,4]", "1"] {
            let error = serde_json::from_str::<Three>(bad).unwrap_err().to_string();
            assert!(error.contains("a sequence of 1 to 3 values"), "{error}");
        }
    }

    #[test]
    fn inline_str_keeps_whole_text_within_its_bound() {
        assert_eq!(InlineStr::<5>::new("naïv").unwrap().as_str(), "naïv");
        assert_eq!(InlineStr::<4>::new("naïv").unwrap_err(), LengthError);
        let error = serde_json::from_str::<InlineStr<3>>(r#""four""#).unwrap_err().to_string();
        assert!(error.contains("text of at most 3 bytes"), "{error}");
        assert_eq!(serde_json::to_string(&InlineStr::<3>::new("ab").unwrap()).unwrap(), r#""ab""#);
    }
}
