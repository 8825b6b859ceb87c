//! L-BFGS (Nocedal and Wright, "Numerical Optimization", algorithm 7.4) for smooth convex functions.

use std::collections::VecDeque;

/// Steps whose curvature is remembered.
const MEMORY: usize = 10;
/// Sufficient decrease and curvature of a step (Wolfe's conditions).
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
/// Tries to find such a step.
const TRIES: usize = 40;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Minimises `function`, which gives the value at a point and writes the gradient there, from `x` on: until the gradient's
/// largest element is at most `tolerance`, or for so many iterations. Deterministic: no order of sums depends on threads.
pub(super) fn minimise(
    x: &mut [f64],
    tolerance: f64,
    iterations: usize,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
) {
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let mut value = function(x, &mut gradient);
    let mut pairs: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::with_capacity(MEMORY);
    let (mut next, mut next_gradient) = (vec![0.0; n], vec![0.0; n]);
    for _ in 0..iterations {
        if gradient.iter().all(|g| g.abs() <= tolerance) {
            return;
        }
        let mut direction = direction(&gradient, &pairs);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            // Rounding has made the remembered curvature useless.
            pairs.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = dot(&direction, &gradient);
        }
        let first = if pairs.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
        let mut next_value = value;
        for _ in 0..TRIES {
            next.iter_mut().zip(x.iter().zip(&direction)).for_each(|(next, (x, d))| *next = x + step * d);
            next_value = function(&next, &mut next_gradient);
            if next_value > value + DECREASE * step * slope {
                high = step;
            } else if dot(&direction, &next_gradient) < CURVATURE * slope {
                low = step;
            } else {
                break;
            }
            step = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * low };
        }
        if next_value >= value {
            // No step is better in the numbers a float has.
            return;
        }
        let s: Vec<f64> = next.iter().zip(x.iter()).map(|(next, x)| next - x).collect();
        let y: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(next, g)| next - g).collect();
        let curvature = dot(&s, &y);
        if curvature > 1e-12 * dot(&y, &y) {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back((s, y, 1.0 / curvature));
        }
        x.copy_from_slice(&next);
        value = next_value;
        std::mem::swap(&mut gradient, &mut next_gradient);
    }
}

/// The two-loop recursion: minus the inverse Hessian, as the pairs tell it, times the gradient.
fn direction(gradient: &[f64], pairs: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(pairs.len());
    for (s, y, rho) in pairs.iter().rev() {
        let alpha = rho * dot(s, &q);
        q.iter_mut().zip(y).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    if let Some((_, y, rho)) = pairs.back() {
        let scale = 1.0 / (rho * dot(y, y));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((s, y, rho), alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = rho * dot(y, &q);
        q.iter_mut().zip(s).for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badly_scaled_quadratic_is_minimised() {
        let scales = [1.0, 10.0, 100.0, 1000.0];
        let mut x = [5.0; 4];
        minimise(&mut x, 1e-9, 200, |x, g| {
            let mut value = 0.0;
            for (i, scale) in scales.iter().enumerate() {
                let apart = x[i] - i as f64;
                g[i] = scale * apart;
                value += 0.5 * scale * apart * apart;
            }
            value
        });
        for (i, x) in x.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-8, "{x}");
        }
    }

    #[test]
    fn rosenbrock_is_minimised() {
        let mut x = [-1.2, 1.0];
        minimise(&mut x, 1e-10, 500, |x, g| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            g[0] = -2.0 * a - 400.0 * x[0] * b;
            g[1] = 200.0 * b;
            a * a + 100.0 * b * b
        });
        assert!((x[0] - 1.0).abs() < 1e-7 && (x[1] - 1.0).abs() < 1e-7, "{x:?}");
    }
}
