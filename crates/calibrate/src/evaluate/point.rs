//! Policies as points: what they cost and how often they are right.

/// A point in the plane of mean cost and accuracy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CostAccuracy {
    /// Mean cost per frame, in the unit of the [`Costs`](crate::records::Costs).
    pub cost: f64,
    /// Share answered rightly.
    pub accuracy: f64,
}

impl CostAccuracy {
    /// The point of this cost and accuracy.
    pub const fn new(cost: f64, accuracy: f64) -> Self {
        CostAccuracy { cost, accuracy }
    }
}
