//! The CNN backbones, each cut in a stem and four stages. A new backbone is one file and one line in [`FAMILIES`].

mod efficientnet_lite;
mod mobilenet_v3;
mod regnet;
mod resnet;

use crate::builder::Builder;
use crate::graph::Value;
use crate::metadata::IMAGENET;

/// One backbone at one size.
pub(crate) trait Backbone {
    /// Image (1, 3, S, S) to the features stage 1 takes.
    fn stem(&self, b: &mut Builder, image: &Value) -> Value;
    /// Stage `k`, 1 to 4.
    fn stage(&self, b: &mut Builder, k: usize, x: &Value) -> Value;
    /// Hidden units of the two classifiers that see features, if they have a hidden layer.
    fn classifier_hidden(&self) -> Option<usize>;
    /// Mean and standard deviation per channel, of pixels in [0, 1], that its published weights were trained with.
    fn normalisation(&self) -> ([f32; 3], [f32; 3]) {
        IMAGENET
    }
}

/// A kind of backbone, by the first part of a network's name.
struct Family {
    /// The names that are published: by the paper's authors, or with weights for ImageNet.
    published: &'static [&'static str],
    /// Latent tokens of its networks where they are listed.
    latents: usize,
    parse: fn(&str) -> Option<Box<dyn Backbone>>,
    /// Names to try when a checkpoint is to be recognised, published ones first.
    candidates: fn() -> Vec<String>,
}

const FAMILIES: [Family; 4] = [mobilenet_v3::FAMILY, regnet::FAMILY, resnet::FAMILY, efficientnet_lite::FAMILY];

/// All published backbones.
pub(crate) fn published() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.published).copied().collect()
}

/// The published backbones, each with the latent tokens of its network.
pub(crate) fn published_latents() -> impl Iterator<Item = (&'static str, usize)> {
    FAMILIES.iter().flat_map(|family| family.published.iter().map(|&name| (name, family.latents)))
}

/// The backbone of that name, published or of another width.
pub(crate) fn parse(name: &str) -> Option<Box<dyn Backbone>> {
    FAMILIES.iter().find_map(|family| (family.parse)(name))
}

/// Names of backbones a checkpoint may be of.
pub(crate) fn candidates() -> Vec<String> {
    FAMILIES.iter().flat_map(|family| (family.candidates)()).collect()
}

/// The published names as candidates.
fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Rounds to a multiple of 8 without going below 90 % of the wish, as MobileNets do.
fn round_channels(channels: f64) -> usize {
    let rounded = ((channels + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * channels { rounded + 8 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_round_to_eights_but_not_far_down() {
        assert_eq!([8.0, 12.0, 19.9, 11.0, 100.0, 1.0].map(round_channels), [8, 16, 24, 16, 104, 8]);
        assert_eq!(round_channels(18.0), 24);
    }
}
