//! What the tests of the kernels share: repeatable values and a comparison.

/// Repeatable values in -1..1.
pub fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Asserts equality to 1e-5 of the largest value expected.
pub fn assert_close(found: &[f32], expected: &[f32]) {
    assert_close_to(found, expected, 1e-3);
}

/// The same where rounding errors are those of values at least as large as `scale`: sums before an activation.
pub fn assert_close_to(found: &[f32], expected: &[f32], scale: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(scale, |m, x| m.max(x.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 1e-5 * largest, "element {i}: {f} instead of {e}, largest {largest}");
    }
}

/// An activation by its definition, in double precision.
pub fn activation(activation: super::Activation, x: f64) -> f64 {
    use super::Activation;
    match activation {
        Activation::Identity => x,
        Activation::Clamp { low, high } => x.max(f64::from(low)).min(f64::from(high)),
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Gelu => x * 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2),
    }
}

/// Any activation.
pub fn activations() -> impl proptest::strategy::Strategy<Value = super::Activation> {
    use super::Activation;
    proptest::sample::select(vec![
        Activation::Identity,
        Activation::Clamp { low: 0.0, high: f32::INFINITY },
        Activation::Clamp { low: -0.25, high: 0.5 },
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Gelu,
    ])
}
