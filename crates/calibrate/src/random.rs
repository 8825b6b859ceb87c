//! Random numbers that are the same on every machine, for shuffles and synthetic records (SplitMix64).

/// SplitMix64 (Steele et al., 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator that always gives the same numbers for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 random bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..`n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Fisher-Yates shuffle.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// `rows` dealt at random into two parts, the first with `share` of them; both sorted.
pub fn split(rows: &[u32], share: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let mut shuffled = rows.to_vec();
    Random::new(seed).shuffle(&mut shuffled);
    let at = ((rows.len() as f64 * share).round() as usize).min(rows.len());
    let mut second = shuffled.split_off(at);
    shuffled.sort_unstable();
    second.sort_unstable();
    (shuffled, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_deals_every_row_once() {
        let rows: Vec<u32> = (0..101).collect();
        let (a, b) = split(&rows, 0.25, 3);
        assert_eq!(a.len(), 25);
        let mut all = [a.clone(), b].concat();
        all.sort_unstable();
        assert_eq!(all, rows);
        assert_eq!(split(&rows, 0.25, 3).0, a);
        assert_ne!(split(&rows, 0.25, 4).0, a);
    }
}
