//! Transposition: reordering the axes of a tensor, in square blocks.

/// Side of the square blocks a matrix is transposed in: a block's rows and columns stay in L1.
const BLOCK: usize = 16;

/// Side of the square tiles of a block that are moved at once.
const TILE: usize = 4;

/// The most axes that a tensor has here: sizes are kept in place, since a frame allocates nothing.
pub const MOST_AXES: usize = 16;

/// A value for each of some axes.
#[derive(Clone, Copy)]
struct Axes {
    values: [usize; MOST_AXES],
    len: usize,
}

impl Axes {
    fn new() -> Axes {
        Axes { values: [0; MOST_AXES], len: 0 }
    }

    fn push(&mut self, value: usize) {
        self.values[self.len] = value;
        self.len += 1;
    }

    fn map(&self, f: impl Fn(usize) -> usize) -> Axes {
        Axes { values: self.values.map(f), len: self.len }
    }
}

impl std::ops::Deref for Axes {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.values[..self.len]
    }
}

/// Axes of size 1 dropped, and axes that stay neighbours merged: shape and order of the same movement in fewest axes.
fn simplified(shape: &[usize], order: &[usize]) -> (Axes, Axes) {
    assert!(order.len() <= MOST_AXES, "{} axes", order.len());
    // Of each group of neighbours: its first axis, its last and its size.
    let (mut firsts, mut last, mut sizes) = (Axes::new(), 0, Axes::new());
    for &axis in order.iter().filter(|a| shape[**a] != 1) {
        let follows = firsts.len > 0 && last < axis && shape[last + 1..axis].iter().all(|d| *d == 1);
        if follows {
            sizes.values[sizes.len - 1] *= shape[axis];
        } else {
            firsts.push(axis);
            sizes.push(shape[axis]);
        }
        last = axis;
    }
    // A group's place in the source is how many groups begin before it.
    let order = firsts.map(|first| firsts.iter().filter(|other| **other < first).count());
    let mut shape = sizes;
    for (group, source) in order.iter().enumerate() {
        shape.values[*source] = sizes[group];
    }
    (shape, order)
}

/// Whether the movement leaves every element where it is in memory.
///
/// # Panics
/// There are more than [`MOST_AXES`] axes.
pub fn is_reshape(shape: &[usize], order: &[usize]) -> bool {
    simplified(shape, order).1.is_sorted()
}

/// `out[.., i, ..]` with axis `k` of `out` being axis `order[k]` of `x`.
///
/// # Panics
/// There are more than [`MOST_AXES`] axes, or a slice is shorter than `shape` says.
pub fn transpose(x: &[f32], shape: &[usize], order: &[usize], out: &mut [f32]) {
    let (shape, order) = simplified(shape, order);
    match *order {
        [1, 0] => matrix(x, shape[0], shape[1], out),
        [0, 2, 1] => {
            let size = shape[1] * shape[2];
            for (x, out) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
                matrix(x, shape[1], shape[2], out);
            }
        }
        _ if order.is_sorted() => out.copy_from_slice(x),
        _ => general(x, &shape, &order, out),
    }
}

fn matrix(x: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    match rows {
        2 => return interleave::<2>(x, columns, out),
        3 => return interleave::<3>(x, columns, out),
        4 => return interleave::<4>(x, columns, out),
        _ => {}
    }
    for (r, c) in (0..rows).step_by(BLOCK).flat_map(|r| (0..columns).step_by(BLOCK).map(move |c| (r, c))) {
        let (end, end_column) = ((r + BLOCK).min(rows), (c + BLOCK).min(columns));
        // Whole tiles, which vector registers hold; then what is left to the right and below.
        let (whole, whole_column) = (end - (end - r) % TILE, end_column - (end_column - c) % TILE);
        for row in (r..whole).step_by(TILE) {
            for column in (c..whole_column).step_by(TILE) {
                tile(x, [row, column], [rows, columns], out);
            }
        }
        for row in r..end {
            let first = if row < whole { whole_column } else { c };
            for column in first..end_column {
                out[column * rows + row] = x[row * columns + column];
            }
        }
    }
}

/// A tile, loaded whole and stored whole.
#[inline(always)]
fn tile(x: &[f32], [row, column]: [usize; 2], [rows, columns]: [usize; 2], out: &mut [f32]) {
    let mut values = [[0.0; TILE]; TILE];
    for (i, values) in values.iter_mut().enumerate() {
        values.copy_from_slice(&x[(row + i) * columns + column..][..TILE]);
    }
    for (j, values) in transposed(values).iter().enumerate() {
        out[(column + j) * rows + row..][..TILE].copy_from_slice(values);
    }
}

/// Rows as columns. The compiler moves value by value where it is not told otherwise.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn transposed(rows: [[f32; TILE]; TILE]) -> [[f32; TILE]; TILE] {
    use std::arch::x86_64::{_mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    let [a, b, c, d] = rows.map(bytemuck::cast);
    // SAFETY: every x86-64 has SSE.
    let columns = unsafe {
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        let (first, third) = (_mm_movelh_ps(ab, cd), _mm_movelh_ps(ab_high, cd_high));
        [first, _mm_movehl_ps(cd, ab), third, _mm_movehl_ps(cd_high, ab_high)]
    };
    columns.map(bytemuck::cast)
}

/// Rows as columns.
#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn transposed(rows: [[f32; TILE]; TILE]) -> [[f32; TILE]; TILE] {
    use std::arch::aarch64::{float32x4_t, float64x2_t, vtrn1q_f32, vtrn1q_f64, vtrn2q_f32, vtrn2q_f64};
    let [a, b, c, d] = rows.map(bytemuck::cast::<_, float32x4_t>);
    let pairs = |x: float32x4_t| bytemuck::cast::<_, float64x2_t>(x);
    // SAFETY: every aarch64 of the targets has NEON.
    let columns = unsafe {
        let (ab, cd) = (pairs(vtrn1q_f32(a, b)), pairs(vtrn1q_f32(c, d)));
        let (ab_odd, cd_odd) = (pairs(vtrn2q_f32(a, b)), pairs(vtrn2q_f32(c, d)));
        [vtrn1q_f64(ab, cd), vtrn1q_f64(ab_odd, cd_odd), vtrn2q_f64(ab, cd), vtrn2q_f64(ab_odd, cd_odd)]
    };
    columns.map(bytemuck::cast)
}

/// Rows as columns.
#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline(always)]
fn transposed(rows: [[f32; TILE]; TILE]) -> [[f32; TILE]; TILE] {
    std::array::from_fn(|j| rows.map(|row| row[j]))
}

/// A few rows, as the channels of an image are.
fn interleave<const ROWS: usize>(x: &[f32], columns: usize, out: &mut [f32]) {
    let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * columns..(row + 1) * columns]);
    for (column, out) in out.as_chunks_mut::<ROWS>().0.iter_mut().enumerate().take(columns) {
        *out = rows.map(|row| row[column]);
    }
}

fn general(x: &[f32], shape: &[usize], order: &Axes, out: &mut [f32]) {
    let mut strides = [1; MOST_AXES];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let out_shape = order.map(|a| shape[a.min(shape.len() - 1)]);
    let out_strides = order.map(|a| strides[a]);
    let last = shape.len() - 1;
    let mut index = [0; MOST_AXES];
    for row in out.chunks_exact_mut(out_shape[last]) {
        let base: usize = index[..last].iter().zip(out_strides.iter()).map(|(i, s)| i * s).sum();
        if out_strides[last] == 1 {
            row.copy_from_slice(&x[base..][..row.len()]);
        } else {
            row.iter_mut().enumerate().for_each(|(i, value)| *value = x[base + i * out_strides[last]]);
        }
        for axis in (0..last).rev() {
            index[axis] += 1;
            if index[axis] < out_shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::cases;
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn transpose_matches_reference(
            shape in prop::collection::vec(prop::sample::select(vec![1_usize, 1, 2, 3, 5, 17, 20]), 1..5),
            keys in prop::array::uniform5(0_u32..1000),
        ) {
            let mut order: Vec<usize> = (0..shape.len()).collect();
            order.sort_by_key(|a| keys[*a]);
            let len: usize = shape.iter().product();
            let x = values(1, len);
            let to: Vec<usize> = order.iter().map(|a| shape[*a]).collect();
            let mut expected = vec![0.0; len];
            for (i, e) in expected.iter_mut().enumerate() {
                // The index in the output, axis by axis, and from it the place in the input.
                let (mut rest, mut index) = (i, vec![0; shape.len()]);
                for axis in (0..to.len()).rev() {
                    index[order[axis]] = rest % to[axis];
                    rest /= to[axis];
                }
                *e = x[index.iter().zip(&shape).fold(0, |at, (i, d)| at * d + i)];
            }
            let mut out = vec![f32::NAN; len];
            transpose(&x, &shape, &order, &mut out);
            prop_assert_eq!(&out, &expected);
            if is_reshape(&shape, &order) {
                prop_assert_eq!(&x, &expected);
            }
        }
    }
}
