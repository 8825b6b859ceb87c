//! Lists of fragments whose allocation each thread keeps.
//!
//! A list borrows from the tensors of one call, so that no arena of floats can hold it, and allocating it anew in every
//! frame would be the only allocation of a convolution.

use std::cell::Cell;
use std::thread::LocalKey;

/// Elements of fragments.
pub(crate) trait Listed: Sized + 'static {
    /// The list that this thread keeps.
    fn kept() -> &'static LocalKey<Cell<Vec<&'static [Self]>>>;
}

macro_rules! listed {
    ($element:ty) => {
        impl Listed for $element {
            fn kept() -> &'static LocalKey<Cell<Vec<&'static [$element]>>> {
                thread_local! {
                    static KEPT: Cell<Vec<&'static [$element]>> = const { Cell::new(Vec::new()) };
                }
                &KEPT
            }
        }
    };
}
listed!(f32);
listed!(u8);
listed!(u16);

/// Calls `f` with an empty list, whose capacity is that of the longest this thread has had.
pub(crate) fn with_list<'a, T: Listed, R>(f: impl FnOnce(&mut Vec<&'a [T]>) -> R) -> R {
    let mut list: Vec<&'a [T]> = T::kept().take();
    let result = f(&mut list);
    list.clear();
    // An empty list of another lifetime: `collect` keeps the allocation of a vector that it consumes.
    T::kept().set(list.into_iter().map(|_| -> &'static [T] { unreachable!("the list is empty") }).collect());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragment_lists_keep_their_allocation() {
        let values = [1.0_f32, 2.0];
        let capacity = with_list(|list| {
            list.extend(values.chunks_exact(1).cycle().take(1000));
            list.capacity()
        });
        with_list(|list: &mut Vec<&[f32]>| {
            assert!(list.is_empty());
            assert_eq!(list.capacity(), capacity);
        });
    }
}
