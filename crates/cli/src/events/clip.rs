//! The pictures around an event: a ring of JPEG files in bounded memory.

use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of all pictures that are kept.
const BYTES: usize = 16 << 20;
/// Time from one picture to the next: enough to see what moved.
const APART: Duration = Duration::from_millis(200);

/// The newest pictures of a loop.
#[derive(Debug)]
pub(super) struct Ring {
    /// How long before an event a clip begins, and how long behind it it ends.
    around: Duration,
    pictures: VecDeque<(Duration, Vec<u8>)>,
    bytes: usize,
    limit: usize,
}

impl Ring {
    pub(super) fn new(around: Duration) -> Self {
        Ring { around, pictures: VecDeque::new(), bytes: 0, limit: BYTES }
    }

    /// How long a clip goes on behind its event.
    pub(super) fn around(&self) -> Duration {
        self.around
    }

    /// Whether a picture of this time is wanted.
    pub(super) fn wants(&self, time: Duration) -> bool {
        self.pictures.back().is_none_or(|(last, _)| time >= *last + APART)
    }

    /// Takes in a picture, and forgets those that no clip can need any more: a clip is made once its last picture is here.
    pub(super) fn push(&mut self, time: Duration, jpeg: Vec<u8>) {
        self.bytes += jpeg.len();
        self.pictures.push_back((time, jpeg));
        let oldest = time.saturating_sub(2 * self.around + APART);
        while self.bytes > self.limit || self.pictures.front().is_some_and(|(time, _)| *time < oldest) {
            let Some((_, jpeg)) = self.pictures.pop_front() else { break };
            self.bytes -= jpeg.len();
        }
    }

    /// The pictures around an event, one JPEG file behind the other, as MJPEG players read them; none where there is none.
    pub(super) fn clip(&self, event: Duration) -> Option<Vec<u8>> {
        let (from, to) = (event.saturating_sub(self.around), event + self.around);
        let wanted = self.pictures.iter().filter(|(time, _)| (from..=to).contains(time));
        let clip: Vec<u8> = wanted.flat_map(|(_, jpeg)| jpeg.iter().copied()).collect();
        (!clip.is_empty()).then_some(clip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_has_the_pictures_around_its_event() {
        let mut ring = Ring::new(Duration::from_secs(2));
        for second in 0..10u8 {
            let time = Duration::from_secs(second.into());
            assert!(ring.wants(time));
            ring.push(time, vec![second]);
            assert!(!ring.wants(time + APART / 2));
        }
        assert_eq!(ring.clip(Duration::from_secs(7)).unwrap(), [5, 6, 7, 8, 9]);
        assert_eq!(ring.clip(Duration::from_secs(20)), None);
        assert!(ring.pictures.len() <= 6, "{:?}", ring.pictures);
    }

    #[test]
    fn memory_is_bounded_whatever_the_pictures() {
        let mut ring = Ring { limit: 1000, ..Ring::new(Duration::from_secs(600)) };
        for second in 0..100 {
            ring.push(Duration::from_secs(second), vec![0; 300]);
            assert!(ring.bytes <= 1000);
        }
        ring.push(Duration::from_secs(100), vec![0; 5000]);
        assert_eq!((ring.bytes, ring.pictures.len()), (0, 0));
    }
}
