//! What is learned from: features of labelled images.

use thiserror::Error;

use super::reject::RejectError;

/// Why nothing can be learned.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum LearnError {
    /// A classifier tells classes apart, so there have to be two.
    #[error("at least 2 classes are needed, there are {classes}")]
    Classes {
        /// Classes given.
        classes: usize,
    },
    /// Cross-validation learns from some images of a class and tests on another.
    #[error("class {class} has {images} images, at least 2 are needed")]
    TooFew {
        /// The class, counted from 0.
        class: usize,
        /// Its images.
        images: usize,
    },
    /// A row of another length, or with a number that is not finite.
    #[error("features of image {image}: {reason}")]
    Row {
        /// The image, counted from 0.
        image: usize,
        /// What is wrong.
        reason: String,
    },
    /// "None of these" cannot be learned.
    #[error("none of these: {0}")]
    Reject(RejectError),
}

impl From<RejectError> for LearnError {
    fn from(error: RejectError) -> Self {
        LearnError::Reject(error)
    }
}

/// Features of labelled images: a row for each view of an image, all of one width. Views are the image as it is and, say,
/// mirrored: more to learn from, but one image where it is judged what was learned.
#[derive(Clone, Debug)]
pub struct Features {
    width: usize,
    classes: usize,
    views: usize,
    rows: Vec<f32>,
    labels: Vec<usize>,
}

impl Features {
    /// No images yet: of so many features each, in so many classes.
    pub fn new(width: usize, classes: usize) -> Self {
        Features { width, classes, views: 1, rows: Vec::new(), labels: Vec::new() }
    }

    /// With so many views of each image, at least one; to be told before images are added.
    #[must_use]
    pub fn with_views(mut self, views: usize) -> Self {
        self.views = views.max(1);
        self
    }

    /// Adds an image: the features of its views one after the other, first those of the image as it is.
    ///
    /// # Errors
    /// [`LearnError::Row`] for another number of features, one that is not finite, or a class beyond those there are.
    pub fn push(&mut self, row: &[f32], label: usize) -> Result<(), LearnError> {
        let refuse = |reason: String| Err(LearnError::Row { image: self.labels.len(), reason });
        let expected = self.width * self.views;
        if row.len() != expected {
            return refuse(format!("{} numbers, expected {expected}", row.len()));
        }
        if let Some(value) = row.iter().find(|value| !value.is_finite()) {
            return refuse(format!("{value} is no number to learn from"));
        }
        if label >= self.classes {
            return refuse(format!("class {label}, expected less than {}", self.classes));
        }
        self.rows.extend_from_slice(row);
        self.labels.push(label);
        Ok(())
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Features of an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The class of each image.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Rows of all views of all images.
    pub(super) fn rows(&self) -> usize {
        self.labels.len() * self.views
    }

    /// A row; those of image i are i x views and those behind it.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.width..][..self.width]
    }

    /// The rows of an image.
    pub(super) fn rows_of(&self, image: usize) -> std::ops::Range<usize> {
        image * self.views..(image + 1) * self.views
    }

    /// The class of a row.
    pub(super) fn label(&self, row: usize) -> usize {
        self.labels[row / self.views]
    }

    /// Images of each class.
    pub(super) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.labels.iter().for_each(|&label| counts[label] += 1);
        counts
    }

    /// Refuses what no cross-validation can be made of.
    pub(super) fn check(&self) -> Result<(), LearnError> {
        if self.classes < 2 {
            return Err(LearnError::Classes { classes: self.classes });
        }
        match self.counts().into_iter().enumerate().find(|&(_, images)| images < 2) {
            Some((class, images)) => Err(LearnError::TooFew { class, images }),
            None => Ok(()),
        }
    }
}
