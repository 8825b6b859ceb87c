//! Frames that leave at fixed shares, spread evenly over time.

/// Says for one frame after another at which exit it leaves. After 1000 frames every exit has had exactly its share, and
/// at any moment each is less than one frame from it or nearly so: the exit that lags behind most comes next.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    per_mille: Vec<u32>,
    owed: Vec<i64>,
}

impl Shares {
    /// Shares per mille, one per exit.
    pub(crate) fn new(per_mille: &[u32]) -> Self {
        Shares { per_mille: per_mille.to_vec(), owed: vec![0; per_mille.len()] }
    }

    /// Frames after which the order of exits begins anew.
    pub(crate) fn cycle(&self) -> usize {
        fn divisor(a: u32, b: u32) -> u32 {
            if b == 0 { a } else { divisor(b, a % b) }
        }
        let all: u32 = self.per_mille.iter().sum();
        (all / self.per_mille.iter().copied().fold(all, divisor).max(1)) as usize
    }

    /// The exit of the next frame.
    pub(crate) fn next(&mut self) -> usize {
        for (owed, &share) in self.owed.iter_mut().zip(&self.per_mille) {
            *owed += i64::from(share);
        }
        let most = (0..self.owed.len()).rev().max_by_key(|&exit| self.owed[exit]).unwrap_or(0);
        self.owed[most] -= self.per_mille.iter().map(|&share| i64::from(share)).sum::<i64>();
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met_soon_and_exactly() {
        let mut shares = Shares::new(&[400, 300, 200, 100]);
        let mut counts = [0; 4];
        for frame in 1..=1000 {
            counts[shares.next()] += 1;
            if frame == 10 {
                assert_eq!(counts, [4, 3, 2, 1]);
            }
        }
        assert_eq!(counts, [400, 300, 200, 100]);
        assert_eq!(shares.cycle(), 10);
        assert_eq!(Shares::new(&[0, 0, 0, 1000]).cycle(), 1);
        assert_eq!(Shares::new(&[333, 667]).cycle(), 1000);
    }
}
