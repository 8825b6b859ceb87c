//! What a board draws, as far as it is known, and what stands in for the rest.

use crate::{Basis, Board, Figure};

/// Power at the input of a board, in watts, with the source of each figure. Any part may be unknown.
///
/// # Examples
/// ```
/// use dyn_perceiver_host::{Figure, Watts};
///
/// let own = Watts::default().with_idle(Figure::new(0.6, "measured here"));
/// let other = Watts::default().with_idle(Figure::new(2.0, "a test")).with_active(Figure::new(6.0, "a test"));
/// let watts = own.or_scaled("the other board", &other);
/// assert_eq!(watts.idle.unwrap().value, 0.6);
/// assert!((watts.active.unwrap().value - 1.8).abs() < 1e-9);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Watts {
    /// Booted and idle.
    pub idle: Option<Figure>,
    /// All cores busy.
    pub active: Option<Figure>,
    /// One core busy, two, and so on, as far as they are known.
    pub busy: Vec<Figure>,
    /// Number of cores, where it is known.
    pub cores: Option<u32>,
    /// Suspended between frames, where it can be.
    pub suspended: Option<Figure>,
}

impl Watts {
    /// The figures of a board's data.
    #[must_use]
    pub fn of(board: &Board) -> Self {
        let power = &board.power;
        Self {
            idle: power.idle_watts.clone(),
            active: power.active_watts.clone(),
            busy: power.busy_watts.clone(),
            cores: board.cpu.as_ref().map(|cpu| cpu.cores),
            suspended: power.suspend_watts.clone(),
        }
    }

    /// Replaces the idle watts.
    #[must_use]
    pub fn with_idle(mut self, idle: Figure) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Replaces the active watts.
    #[must_use]
    pub fn with_active(mut self, active: Figure) -> Self {
        self.active = Some(active);
        self
    }

    /// Replaces the suspended watts.
    #[must_use]
    pub fn with_suspended(mut self, suspended: Figure) -> Self {
        self.suspended = Some(suspended);
        self
    }

    /// Draw with so many cores busy: as measured, else the share of what all of them add to the idle board. `None` where
    /// idle and active watts are not both known.
    ///
    /// ```
    /// use dyn_perceiver_host::{Figure, Watts};
    ///
    /// let mut watts = Watts::default().with_idle(Figure::new(2.7, "a test")).with_active(Figure::new(6.7, "a test"));
    /// watts.cores = Some(4);
    /// assert_eq!(watts.with_busy_cores(1).unwrap().value, 3.7);
    /// assert_eq!(watts.with_busy_cores(8).unwrap().value, 6.7);
    /// ```
    #[must_use]
    pub fn with_busy_cores(&self, busy: u32) -> Option<Figure> {
        let (idle, active) = (self.idle.as_ref()?, self.active.as_ref()?);
        if let Some(figure) = busy.checked_sub(1).and_then(|index| self.busy.get(index as usize)) {
            return Some(figure.clone());
        }
        let cores = self.cores.unwrap_or(1).max(1);
        let busy = busy.min(cores);
        if busy == cores {
            return Some(active.clone());
        }
        let value = idle.value + (active.value - idle.value) * f64::from(busy) / f64::from(cores);
        let source = format!("{busy} of {cores} cores' share of {:.2} to {:.2} W", idle.value, active.value);
        Some(Figure::new(value, source).on(Basis::NotMeasured))
    }

    /// Whether both what is needed to model energy, idle and active watts, are known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.idle.is_some() && self.active.is_some()
    }

    /// Fills idle and active watts where they are missing, from another board called `name`.
    ///
    /// Figures that are known are kept. One that is missing is the known one times the other board's ratio of the two, so
    /// that a small board is not given a large one's watts; where both are missing the other board's stand in as they are.
    /// A suspended state is never borrowed: not every board has one.
    #[must_use]
    pub fn or_scaled(self, name: &str, other: &Watts) -> Self {
        let (Some(other_idle), Some(other_active)) = (&other.idle, &other.active) else { return self };
        // However well they are known there: on this board nobody measured them.
        let lent = |figure: &Figure| {
            Figure::new(figure.value, format!("not known, {name}'s: {}", figure.source)).on(Basis::NotMeasured)
        };
        let scaled = |known: &Figure, top: &Figure, bottom: &Figure| {
            let ratio = top.value / bottom.value;
            Figure::new(
                known.value * ratio,
                format!("not known, scaled as {name}'s {} to {} W", bottom.value, top.value),
            )
            .on(Basis::NotMeasured)
        };
        // The other board's cores stand for this one's where all of its watts do.
        let cores = self.cores.or(other.cores);
        let (idle, active) = match (self.idle, self.active) {
            (None, None) => (lent(other_idle), lent(other_active)),
            (Some(idle), None) => {
                let active = scaled(&idle, other_active, other_idle);
                (idle, active)
            }
            (None, Some(active)) => (scaled(&active, other_idle, other_active), active),
            (Some(idle), Some(active)) => (idle, active),
        };
        Self { idle: Some(idle), active: Some(active), busy: self.busy, cores, suspended: self.suspended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other() -> Watts {
        Watts::default().with_idle(Figure::new(2.7, "idle source")).with_active(Figure::new(6.4, "active source"))
    }

    #[test]
    fn known_watts_are_kept_and_missing_ones_are_scaled() {
        let own = Watts::default().with_idle(Figure::new(0.6, "own"));
        let watts = own.clone().or_scaled("Pi 4", &other());
        assert_eq!(watts.idle, own.idle);
        let active = watts.active.unwrap();
        assert!(
            (active.value - 0.6 * 6.4 / 2.7).abs() < 1e-9 && active.source.contains("Pi 4's 2.7 to 6.4 W"),
            "{active:?}"
        );

        let watts = Watts::default().with_active(Figure::new(3.2, "own")).or_scaled("Pi 4", &other());
        assert!((watts.idle.unwrap().value - 1.35).abs() < 1e-9);
        assert_eq!(watts.active.unwrap().value, 3.2);
    }

    #[test]
    fn unknown_watts_are_lent_with_their_source() {
        let watts = Watts::default().or_scaled("Pi 4", &other());
        assert_eq!(watts.idle, Some(Figure::new(2.7, "not known, Pi 4's: idle source").on(Basis::NotMeasured)));
        assert_eq!(watts.active, Some(Figure::new(6.4, "not known, Pi 4's: active source").on(Basis::NotMeasured)));
    }

    #[test]
    fn complete_watts_stay_and_a_suspended_state_is_not_borrowed() {
        let asleep = other().with_suspended(Figure::new(0.1, "asleep"));
        assert_eq!(asleep.clone().or_scaled("any", &other()), asleep);
        assert_eq!(Watts::default().or_scaled("Pi 4", &asleep).suspended, None);
        assert!(!Watts::default().or_scaled("nothing", &Watts::default()).is_complete());
    }
}
