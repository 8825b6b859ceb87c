//! Deterministic weights: a full-size network without a file, the same on every machine.

use std::collections::BTreeMap;

use super::{Weights, plain_key};
use crate::Error;

/// Weights that follow from key, index and shape alone: uniform numbers from splitmix64, seeded with the FNV-1a hash of
/// the key and scaled by the kind of tensor, so that activations keep their size through the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seeded;

impl Weights for Seeded {
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
        None
    }

    fn read(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let count = shape.iter().product();
        let fan_in: usize = shape.iter().skip(1).product();
        // The same backbone whatever it is part of.
        let key = &plain_key(key);
        let values = uniform(key).take(count);
        Ok(if key.ends_with("retina_cls.bias") {
            // Few anchors score, as in a trained detector.
            values.map(|u| -(99f32.ln()) + 0.2 * (u - 0.5)).collect()
        } else if key.ends_with("running_mean") {
            values.map(|u| 0.2 * (u - 0.5)).collect()
        } else if key.ends_with("running_var") {
            values.map(|u| 0.5 + u).collect()
        } else if key.as_str() == "latent" {
            values.map(|u| 2.0 * u - 1.0).collect()
        } else if key.ends_with("relative_position_bias") {
            values.map(|u| 0.5 * (u - 0.5)).collect()
        } else if shape.len() == 1 && key.ends_with("weight") {
            values.map(|u| 0.75 + 0.5 * u).collect()
        } else if shape.len() == 1 {
            values.map(|u| 0.2 * (u - 0.5)).collect()
        } else {
            let bound = (3.0 / fan_in as f32).sqrt();
            values.map(|u| (2.0 * u - 1.0) * bound).collect()
        })
    }
}

/// The image that goes with the seeded weights: (1, 3, height, width) in [-1, 1), row-major.
pub fn seeded_image([height, width]: [usize; 2]) -> Vec<f32> {
    seeded_values("image", 3 * height * width)
}

/// Frame `t` of the clip that goes with the seeded weights: (1, 3, height, width) in [-1, 1), row-major.
pub fn seeded_frame(t: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    seeded_values(&format!("frame{t}"), 3 * height * width)
}

fn seeded_values(key: &str, count: usize) -> Vec<f32> {
    uniform(key).take(count).map(|u| 2.0 * u - 1.0).collect()
}

/// Numbers in [0, 1): the top 24 bits of splitmix64 (Steele et al., OOPSLA 2014), its state offset by the key's hash.
fn uniform(key: &str) -> impl Iterator<Item = f32> {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let offset = fnv1a64(key.as_bytes());
    (1u64..).map(move |i| {
        let mut z = i.wrapping_mul(GOLDEN).wrapping_add(offset);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 24) as f32
    })
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_and_generator_match_their_published_test_values() {
        // FNV-1a 64 of "a" and "foobar" (Noll's test suite); splitmix64 with seed 0 starts with 0xe220a8397b1dcdaf.
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
        assert!(uniform("image").take(10_000).all(|u| (0.0..1.0).contains(&u)));
        let mean = uniform("latent").take(100_000).sum::<f32>() / 1e5;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
