//! What somebody wants a running loop to do otherwise.

/// A change of the mission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wish {
    /// Accuracy gives way, so that the battery lasts the mission; or it does not, and a floor is kept.
    KeepFloor(bool),
    /// The floor, an accuracy in [0, 1].
    Floor(f32),
}
