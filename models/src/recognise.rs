//! Which network a checkpoint is of, from its keys and shapes alone.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::SELF_ATTENTION_LAYERS;
use crate::task::ANCHORS;
use crate::weights::plain_key;
use crate::{Action, Config, Detection, Error, Extra, Network, Task, VideoMode, backbone};

type Shapes = BTreeMap<String, Vec<usize>>;

/// Tokens of features pooled to 7x7.
const POOLED_TOKENS: usize = 49;
/// Frames of a clip, of which nothing shows in a checkpoint.
const FRAMES: usize = 8;
/// Pixels per feature of stage 1: RegNet's stem halves the image once, the others' twice.
const STEM_STRIDES: [usize; 2] = [2, 4];

impl Config {
    /// Reads the network off the tensors of a checkpoint: backbone, latents, depth factor, widening, classes and flags,
    /// pyramid and head of a detector, and whether it is of videos. `backbone` is used as given if there is one. The size
    /// of the input shows only where features are not pooled; elsewhere it is the published 224. A video network is
    /// taken to run online. `path` is for error messages.
    ///
    /// # Errors
    /// [`Error::Unrecognised`] if no backbone of the family fits. A few tensors too many or too few are no such case:
    /// [`Network::check`] names them.
    pub fn recognise(path: &Path, shapes: &Shapes, backbone: Option<&str>) -> Result<Config, Error> {
        let of_videos = shapes.keys().any(|key| key.ends_with(".net.weight"));
        let shapes: &Shapes = &shapes.iter().map(|(key, shape)| (plain_key(key), shape.clone())).collect();
        let unrecognised = |reason: &str| Error::Unrecognised { path: path.to_owned(), reason: reason.to_owned() };
        let dim = |key: &str, axis: usize| shapes.get(key).and_then(|shape| shape.get(axis)).copied();
        let latents = dim("latent", 0).ok_or_else(|| unrecognised("there is no 'latent' of two dimensions"))?;
        let classes = dim("early_classifier3.weight", 0)
            .or_else(|| dim("classifier_att.weight", 0))
            .ok_or_else(|| unrecognised("there is no 'early_classifier3.weight'"))?;
        let widening = match (dim("self_att1.0.mlp.fc1.weight", 0), dim("self_att1.0.mlp.fc1.weight", 1)) {
            (Some(hidden), Some(channels)) if channels > 0 => (hidden / channels).max(1),
            _ => return Err(unrecognised("there is no 'self_att1.0.mlp.fc1.weight'")),
        };
        let has =
            |prefix: &str| shapes.range(prefix.to_owned()..).next().is_some_and(|(key, _)| key.starts_with(prefix));
        // MobileNetV3's classifier has a hidden layer.
        let cnn_classes = dim("classifier_cnn.3.weight", 0).or_else(|| dim("classifier_cnn.weight", 0));
        let positions = |k: usize| dim(&format!("cross_att{k}_x2z.cross_attn.attention.relative_position_bias"), 1);
        let mut config = Config {
            depth_factor: [1, 2, 3, 4].map(|k| {
                let layers = (0..).take_while(|layer| has(&format!("self_att{k}.{layer}."))).count();
                (layers / SELF_ATTENTION_LAYERS[k - 1]).max(1)
            }),
            sa_widening: widening,
            classes,
            cnn_classes: cnn_classes.filter(|&of_cnn| of_cnn != classes),
            with_x2z: has("cross_att2_x2z."),
            with_z2x: has("cross_att2_z2x."),
            with_dwc: has("dwc1_x2z."),
            with_last_ca: has("last_cross_att_z2x."),
            with_isc: has("isc3."),
            spatial_reduction: (1..=4).filter_map(positions).all(|tokens| tokens == POOLED_TOKENS),
            ..Config::new("", latents)
        };
        config.backbone = match backbone {
            Some(name) => name.to_owned(),
            None => nearest_backbone(&config, shapes).ok_or_else(|| unrecognised("no backbone of the family fits"))?,
        };
        if let (false, Some(tokens)) = (config.spatial_reduction, positions(1)) {
            config.input_size = input_size(&config, shapes, tokens).unwrap_or(config.input_size);
        }
        if let Some(detection) = detection(shapes) {
            config.task = Task::Detection(detection);
        } else if of_videos {
            config.task = Task::Action(Action::new(FRAMES, VideoMode::Online));
        }
        Ok(config)
    }
}

/// The backbone with the fewest tensors missing or misshapen, if most of them are there.
fn nearest_backbone(config: &Config, shapes: &Shapes) -> Option<String> {
    let fit = |name: String| {
        let network = Network::new(&Config { backbone: name.clone(), ..config.clone() }).ok()?;
        let of_backbone = |key: &&String| key.starts_with("cnn_stem.") || key.starts_with("cnn_body");
        let expected: Vec<&String> = network.parameters().keys().filter(of_backbone).collect();
        let fitting = expected.iter().filter(|&&key| shapes.get(key) == Some(&network.parameters()[key].shape)).count();
        let surplus = shapes.keys().filter(of_backbone).filter(|&key| !network.parameters().contains_key(key)).count();
        (2 * fitting > expected.len()).then_some((expected.len() - fitting + surplus, name))
    };
    // The first of equals: candidates stand in the order of preference.
    backbone::candidates().into_iter().filter_map(fit).min_by_key(|(misfits, _)| *misfits).map(|(_, name)| name)
}

/// Pyramid and head. P6 is made from the backbone's features if its convolution takes as many channels as these have; of
/// the other two, which look alike, level P5 is the usual one.
fn detection(shapes: &Shapes) -> Option<Detection> {
    let dim = |key: &str, axis: usize| shapes.get(key).and_then(|shape| shape.get(axis)).copied();
    let last = dim("neck.lateral_convs.2.conv.weight", 1)?;
    let pyramid = dim("neck.lateral_convs.2.conv.weight", 0)?;
    let classes = dim("bbox_head.retina_cls.weight", 0)? / ANCHORS;
    let channels = dim("bbox_head.retina_cls.weight", 1)?;
    let tower = |i: &usize| shapes.contains_key(&format!("bbox_head.cls_convs.{i}.conv.weight"));
    let on_input = dim("neck.fpn_convs.3.conv.weight", 1) == Some(last);
    let extra = if on_input { Extra::OnInput } else { Extra::OnOutput };
    let convolutions = (0..).take_while(tower).count();
    Some(Detection::new(classes).with_pyramid(pyramid).with_tower(channels, convolutions).with_extra(extra))
}

/// The size whose features of stage 1 have as many pixels as there are positions.
fn input_size(config: &Config, shapes: &Shapes, tokens: usize) -> Option<[usize; 2]> {
    let sizes = STEM_STRIDES.map(|stride| [tokens.isqrt() * stride; 2]);
    sizes.into_iter().find(|&input_size| {
        let network = Network::new(&Config { input_size, ..config.clone() });
        network.is_ok_and(|network| {
            let positions = network.parameters().iter().filter(|(key, _)| key.ends_with("relative_position_bias"));
            positions.into_iter().all(|(key, parameter)| shapes.get(key) == Some(&parameter.shape))
        })
    })
}
