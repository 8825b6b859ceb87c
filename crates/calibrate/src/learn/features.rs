//! What is learned from: features of labelled images.

use thiserror::Error;

/// Why nothing can be learned.
#[derive(Debug, Error, PartialEq, Eq)]
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
}

/// Features of labelled images: one row an image, all of one width.
#[derive(Clone, Debug)]
pub struct Features {
    width: usize,
    classes: usize,
    rows: Vec<f32>,
    labels: Vec<usize>,
}

impl Features {
    /// No images yet: of so many features each, in so many classes.
    pub fn new(width: usize, classes: usize) -> Self {
        Features { width, classes, rows: Vec::new(), labels: Vec::new() }
    }

    /// Adds an image.
    ///
    /// # Errors
    /// [`LearnError::Row`] for another number of features, one that is not finite, or a class beyond those there are.
    pub fn push(&mut self, row: &[f32], label: usize) -> Result<(), LearnError> {
        let refuse = |reason: String| Err(LearnError::Row { image: self.labels.len(), reason });
        if row.len() != self.width {
            return refuse(format!("{} numbers, expected {}", row.len(), self.width));
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

    pub(super) fn row(&self, image: usize) -> &[f32] {
        &self.rows[image * self.width..][..self.width]
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
