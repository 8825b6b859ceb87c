//! Adaptive average pooling, rows and columns apart.

use super::{Attribute, Builder, Source, Value};

impl Builder {
    /// Adaptive average pooling of features to `side` x `side`.
    pub(crate) fn adaptive_pool(&mut self, name: &str, x: &Value, side: usize) -> Value {
        let (channels, [height, width]) = (x.shape[1], [x.shape[2], x.shape[3]]);
        if [height, width] == [side, side] {
            return x.clone();
        }
        if height % side == 0 && width % side == 0 {
            let window = vec![(height / side) as i64, (width / side) as i64];
            let attributes =
                vec![("kernel_shape", Attribute::Ints(window.clone())), ("strides", Attribute::Ints(window))];
            return self.node(name, "AveragePool", &[&x.name], attributes, vec![1, channels, side, side]);
        }
        // Windows of unequal length, or overlapping: rows and columns are averaged by constant matrices.
        let rows = pooling_matrix(height, side);
        let columns = transposed(&pooling_matrix(width, side), width);
        let columns = self.initializer(format!("{name}/columns"), &[width, side], Source::Numbers(columns));
        let rows = self.initializer(format!("{name}/rows"), &[side, height], Source::Numbers(rows));
        let over_columns = format!("{name}/over_columns");
        let shape = vec![1, channels, height, side];
        let x = self.counted(&over_columns, "MatMul", &[&x.name, &columns], vec![], shape, width);
        self.counted(name, "MatMul", &[&rows, &x.name], vec![], vec![1, channels, side, side], height)
    }
}

/// A matrix of `columns` columns as one of as many rows.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns;
    (0..matrix.len()).map(|i| matrix[i % rows * columns + i / rows]).collect()
}

/// Row i of the (`to`, `from`) matrix averages the inputs floor(i * from / to) .. ceil((i + 1) * from / to).
fn pooling_matrix(from: usize, to: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; to * from];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
        row[start..end].fill(1.0 / (end - start) as f32);
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_rows_average_the_windows_of_pytorch() {
        // Row 1 of 7 over 4 inputs: from floor(4 / 7) to ceil(8 / 7).
        assert_eq!(pooling_matrix(4, 7)[4..8], [0.5, 0.5, 0.0, 0.0]);
        assert_eq!(pooling_matrix(4, 7)[8..12], [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(pooling_matrix(3, 2), [0.5, 0.5, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(transposed(&pooling_matrix(3, 2), 3), [0.5, 0.0, 0.5, 0.5, 0.0, 0.5]);
        for (from, to) in [(1, 7), (2, 7), (10, 7), (28, 7)] {
            for row in pooling_matrix(from, to).chunks_exact(from) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn rows_and_columns_are_pooled_apart() {
        let mut b = Builder::default();
        let pooled = |b: &mut Builder, name: &str, height, width| {
            b.adaptive_pool(name, &Value { name: "x".to_owned(), shape: vec![1, 3, height, width] }, 7)
        };
        for (name, height, width) in [("even", 14, 28), ("odd", 8, 10), ("small", 7, 2)] {
            assert_eq!(pooled(&mut b, name, height, width).shape, [1, 3, 7, 7]);
        }
        let ops: Vec<&str> = b.graph.nodes.iter().map(|node| node.op).collect();
        assert_eq!(ops, ["AveragePool", "MatMul", "MatMul", "MatMul", "MatMul"]);
        assert_eq!(pooled(&mut b, "same", 7, 7).name, "x");
    }
}
