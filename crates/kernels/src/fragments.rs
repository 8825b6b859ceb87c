//! Lists of fragments whose allocation each thread keeps.
//!
//! A list borrows from the tensors of one call, so that no arena of floats can hold it, and allocating it anew in every
//! frame would be the only allocation of a convolution.

use std::cell::Cell;

thread_local! {
    static KEPT: Cell<Vec<&'static [f32]>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with an empty list, whose capacity is that of the longest this thread has had.
pub(crate) fn with_list<'a, R>(f: impl FnOnce(&mut Vec<&'a [f32]>) -> R) -> R {
    let mut list: Vec<&'a [f32]> = KEPT.take();
    let result = f(&mut list);
    list.clear();
    // An empty list of another lifetime: `collect` keeps the allocation of a vector that it consumes.
    KEPT.set(list.into_iter().map(|_| -> &'static [f32] { unreachable!("the list is empty") }).collect());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragment_lists_keep_their_allocation() {
        let values = [1.0, 2.0];
        let capacity = with_list(|list| {
            list.extend(values.chunks_exact(1).cycle().take(1000));
            list.capacity()
        });
        with_list(|list| {
            assert!(list.is_empty());
            assert_eq!(list.capacity(), capacity);
        });
    }
}
