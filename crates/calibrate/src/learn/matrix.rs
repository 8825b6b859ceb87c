//! Dense symmetric matrices in double precision, row-major: as much as discriminants need.
//!
//! Sums run in a fixed order over a fixed number of accumulators, so that every processor gets the same numbers up to what
//! fused multiply-add rounds differently.

/// Sum of products, by eight accumulators that a compiler can keep in vectors.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// The inner products of rows of length `width` with each other: (rows, rows), the lower triangle.
pub(super) fn gram(rows: &[f64], width: usize) -> Vec<f64> {
    let n = rows.len() / width.max(1);
    let mut product = vec![0.0; n * n];
    for (i, a) in rows.chunks_exact(width.max(1)).enumerate() {
        for (j, b) in rows.chunks_exact(width.max(1)).take(i + 1).enumerate() {
            product[i * n + j] = dot(a, b);
        }
    }
    product
}

/// Adds `factor` times the outer product of a vector with itself to the lower triangle of a matrix.
pub(super) fn add_outer(matrix: &mut [f64], vector: &[f64], factor: f64) {
    let n = vector.len();
    for (i, &v) in vector.iter().enumerate() {
        let scaled = factor * v;
        if scaled != 0.0 {
            matrix[i * n..=i * n + i].iter_mut().zip(vector).for_each(|(m, x)| *m += scaled * x);
        }
    }
}

/// The lower factor L of a symmetric positive definite matrix (n, n) = L Lᵀ, of which the lower triangle is read.
pub(super) struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Factors a matrix. A pivot that rounding has made too small counts as `floor`.
    pub(super) fn new(mut matrix: Vec<f64>, n: usize, floor: f64) -> Self {
        for i in 0..n {
            let (above, row) = matrix.split_at_mut(i * n);
            let row = &mut row[..n];
            for j in 0..i {
                let other = &above[j * n..j * n + j + 1];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            row[i] = (row[i] - dot(&row[..i], &row[..i])).max(floor).sqrt();
            row[i + 1..].fill(0.0);
        }
        Cholesky { n, lower: matrix }
    }

    /// Row `i` of the factor.
    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.lower[i * self.n..][..self.n]
    }

    /// x with L x = b, in place.
    pub(super) fn forward(&self, b: &mut [f64]) {
        for i in 0..self.n {
            b[i] = (b[i] - dot(&self.row(i)[..i], &b[..i])) / self.row(i)[i];
        }
    }

    /// x with Lᵀ x = b, in place.
    pub(super) fn backward(&self, b: &mut [f64]) {
        for i in (0..self.n).rev() {
            b[i] /= self.row(i)[i];
            let value = b[i];
            b[..i].iter_mut().zip(self.row(i)).for_each(|(b, l)| *b -= value * l);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_factor_solves_what_it_was_made_of() {
        let (n, mut random) = (23, Random::new(3));
        let rows: Vec<f64> = (0..n * 40).map(|_| random.uniform() - 0.5).collect();
        let matrix = gram(&rows, 40);
        let full = |i: usize, j: usize| matrix[i.max(j) * n + i.min(j)];
        let b: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let mut x = b.clone();
        let factor = Cholesky::new(matrix.clone(), n, 0.0);
        factor.forward(&mut x);
        factor.backward(&mut x);
        for (i, b) in b.iter().enumerate() {
            let product: f64 = (0..n).map(|j| full(i, j) * x[j]).sum();
            assert!((product - b).abs() < 1e-8, "{product} {b}");
        }
        let mut sum = vec![0.0; n * n];
        (0..40).for_each(|k| add_outer(&mut sum, &(0..n).map(|i| rows[i * 40 + k]).collect::<Vec<_>>(), 1.0));
        assert!(sum.iter().zip(&matrix).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
