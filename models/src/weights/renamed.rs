//! A checkpoint under the keys that a network asks for: detectors and video networks have more in their keys.

use std::collections::BTreeMap;

use super::Weights;
use crate::{Error, Network};

/// What frameworks put before the keys of a network that is part of another one.
const PREFIXES: [&str; 5] = ["module.", "_orig_mod.", "base_model.", "backbone.", "dyn_perceiver."];
/// TSM's wrapper around a shifted convolution.
const WRAPPER: &str = ".net.weight";

/// The key as the classification network has it, or as neck and head have it.
pub(crate) fn plain_key(key: &str) -> String {
    let mut plain = key;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| plain.strip_prefix(prefix)) {
        plain = rest;
    }
    match plain.strip_suffix(WRAPPER) {
        Some(stem) => format!("{stem}.weight"),
        None => plain.to_owned(),
    }
}

/// Weights whose keys may have prefixes of a framework (`module.base_model.`, `backbone.dyn_perceiver.`) and TSM's
/// `.net.` or not, under the keys of one network. What the network does not ask for keeps its own key.
pub struct Renamed<'a> {
    weights: &'a mut dyn Weights,
    /// From the network's keys to the checkpoint's.
    keys: BTreeMap<String, String>,
    shapes: Option<BTreeMap<String, Vec<usize>>>,
}

impl std::fmt::Debug for Renamed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renamed").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl<'a> Renamed<'a> {
    /// The tensors of `weights` as `network` names them.
    pub fn new(network: &Network, weights: &'a mut dyn Weights) -> Renamed<'a> {
        let Some(shapes) = weights.shapes() else { return Renamed { weights, keys: BTreeMap::new(), shapes: None } };
        let mut plain: BTreeMap<String, &String> = BTreeMap::new();
        for key in shapes.keys() {
            plain.entry(plain_key(key)).or_insert(key);
        }
        let mut keys = BTreeMap::new();
        for key in network.parameters().keys() {
            if let Some(&theirs) = shapes.get_key_value(key).map(|(key, _)| key).as_ref().or(plain.get(&plain_key(key)))
            {
                keys.insert(key.clone(), theirs.clone());
            }
        }
        let used: std::collections::BTreeSet<&String> = keys.values().collect();
        let surplus = shapes.iter().filter(|(key, _)| !used.contains(key)).map(|(key, s)| (key.clone(), s.clone()));
        let renamed = keys.iter().filter_map(|(ours, theirs)| Some((ours.clone(), shapes.get(theirs)?.clone())));
        let shapes = Some(surplus.chain(renamed).collect());
        Renamed { weights, keys, shapes }
    }
}

impl Weights for Renamed<'_> {
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
        self.shapes.as_ref()
    }

    fn read(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let key = self.keys.get(key).map_or(key, String::as_str);
        self.weights.read(key, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_detectors_and_videos_come_down_to_those_of_classification() {
        for (key, plain) in [
            ("backbone.dyn_perceiver.latent", "latent"),
            ("module.base_model.cnn_body_stage1.0.conv1.net.weight", "cnn_body_stage1.0.conv1.weight"),
            ("neck.fpn_convs.0.conv.weight", "neck.fpn_convs.0.conv.weight"),
            ("bbox_head.retina_cls.bias", "bbox_head.retina_cls.bias"),
            ("dwc1_x2z.weight", "dwc1_x2z.weight"),
        ] {
            assert_eq!(plain_key(key), plain);
        }
    }
}
