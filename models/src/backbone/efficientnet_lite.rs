//! EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, ICML 2019, table 1) without squeeze-and-excitation, with ReLU6 and
//! TensorFlow's SAME padding. Its 1280-channel head is left out: stage 4 ends with the last block.

use super::{Backbone, Family, owned};
use crate::builder::{Activation, Builder};
use crate::convolution::Conv;
use crate::graph::Value;

pub(super) const FAMILY: Family =
    Family { published: &["efficientnet_lite0"], latents: 64, parse, candidates: || owned(FAMILY.published) };

const EPSILON: f64 = 1e-3;
const STEM: usize = 32;

/// Kernel, expansion, output channels, stride.
const BLOCKS: [(usize, usize, usize, usize); 16] = [
    (3, 1, 16, 1),
    (3, 6, 24, 2),
    (3, 6, 24, 1),
    (5, 6, 40, 2),
    (5, 6, 40, 1),
    (3, 6, 80, 2),
    (3, 6, 80, 1),
    (3, 6, 80, 1),
    (5, 6, 112, 1),
    (5, 6, 112, 1),
    (5, 6, 112, 1),
    (5, 6, 192, 2),
    (5, 6, 192, 1),
    (5, 6, 192, 1),
    (5, 6, 192, 1),
    (3, 6, 320, 1),
];
/// Blocks of stem and stages 1 to 4, as ranges into `BLOCKS`; features behind them have strides 4, 8, 16, 16 and 32.
const PIECES: [std::ops::Range<usize>; 5] = [0..3, 3..5, 5..8, 8..11, 11..16];

struct EfficientNetLite0;

fn parse(name: &str) -> Option<Box<dyn Backbone>> {
    FAMILY.published.contains(&name).then(|| Box::new(EfficientNetLite0) as Box<dyn Backbone>)
}

/// The blocks of piece `k` (0 is the stem); their keys count on from `first`.
fn blocks(b: &mut Builder, name: &str, key: &str, k: usize, first: usize, x: &Value) -> Value {
    let mut x = x.clone();
    for (i, index) in PIECES[k].clone().enumerate() {
        x = block(b, &format!("{name}/block{i}"), &format!("{key}.{}", first + i), index, &x);
    }
    x
}

/// An inverted residual: 1x1 to `expansion` times the channels, depthwise, 1x1 without activation.
fn block(b: &mut Builder, name: &str, key: &str, index: usize, x: &Value) -> Value {
    let (kernel, expansion, out, stride) = BLOCKS[index];
    let expanded = x.shape[1] * expansion;
    let mut layers = (0..).map(|layer| format!("{key}.block.{layer}"));
    let mut next = || layers.next().unwrap_or_default();
    let residual = stride == 1 && x.shape[1] == out;
    let mut y = x.clone();
    if expansion > 1 {
        let (expand, key) = (format!("{name}/expand"), next());
        y = if residual {
            let (shifted, weight) = b.shifted(name, x, format!("{key}.0"));
            let y = b.conv_norm(&expand, &shifted, &weight, Conv::pointwise(expanded), &format!("{key}.1"), EPSILON);
            b.activation(&format!("{expand}/act"), &y, Activation::Relu6)
        } else {
            conv_norm(b, &expand, &y, &key, Conv::pointwise(expanded), true)
        };
    }
    let conv = Conv { channels: expanded, kernel, stride, groups: expanded, ..Conv::SAME };
    y = conv_norm(b, &format!("{name}/depthwise"), &y, &next(), conv, true);
    y = conv_norm(b, &format!("{name}/project"), &y, &next(), Conv::pointwise(out), false);
    if residual {
        y = b.add(&format!("{name}/residual"), x, &y);
    }
    y
}

impl Backbone for EfficientNetLite0 {
    fn stem(&self, b: &mut Builder, image: &Value) -> Value {
        let conv = Conv { channels: STEM, kernel: 3, stride: 2, ..Conv::SAME };
        let x = conv_norm(b, "feature/stem/conv", image, "cnn_stem.0", conv, true);
        blocks(b, "feature/stem", "cnn_stem", 0, 1, &x)
    }

    fn stage(&self, b: &mut Builder, k: usize, x: &Value) -> Value {
        blocks(b, &format!("feature/stage{k}"), &format!("cnn_body_stage{k}"), k, 0, x)
    }

    fn classifier_hidden(&self) -> Option<usize> {
        None
    }

    fn normalisation(&self) -> ([f32; 3], [f32; 3]) {
        // (pixel - 127) / 128 of pixels from 0 to 255.
        ([127.0 / 255.0; 3], [128.0 / 255.0; 3])
    }
}

fn conv_norm(b: &mut Builder, name: &str, x: &Value, key: &str, conv: Conv, activated: bool) -> Value {
    let y = b.conv_norm(name, x, &format!("{key}.0"), conv, &format!("{key}.1"), EPSILON);
    if activated { b.activation(&format!("{name}/act"), &y, Activation::Relu6) } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Network};

    #[test]
    fn macs_of_the_trunk_are_those_of_the_published_network() {
        // Counted on the published definition at 160x160 by other means: to each stage's features, in millions.
        let mut b = Builder::default();
        let mut x = EfficientNetLite0.stem(&mut b, &Value { name: "image".to_owned(), shape: vec![1, 3, 160, 160] });
        let mut found = vec![(x.shape[1], x.shape[2], b.graph.macs_to(&[&x.name]))];
        for k in 1..=4 {
            x = EfficientNetLite0.stage(&mut b, k, &x);
            found.push((x.shape[1], x.shape[2], b.graph.macs_to(&[&x.name])));
        }
        let expected = [(24, 40, 38.7), (40, 20, 58.0), (80, 10, 80.2), (112, 10, 124.1), (320, 5, 185.6)];
        for ((channels, side, macs), expected) in found.into_iter().zip(expected) {
            assert_eq!((channels, side), (expected.0, expected.1));
            assert!((macs as f64 / 1e6 - expected.2).abs() < 0.06, "{macs} against {} M", expected.2);
        }
    }

    #[test]
    fn odd_padding_is_at_the_end() {
        let network = Network::new(&Config::from_name("efficientnet_lite0_perceiver_t64").unwrap()).unwrap();
        let pads = |name: &str| {
            let node = network.graph().nodes.iter().find(|node| node.name == name).unwrap();
            format!("{:?}", node.attributes.iter().find(|(key, _)| *key == "pads").unwrap().1)
        };
        assert_eq!(pads("feature/stem/conv"), "Ints([0, 0, 1, 1])");
        assert_eq!(pads("feature/stage1/block0/depthwise"), "Ints([1, 1, 2, 2])");
        assert_eq!(pads("feature/stage1/block1/depthwise"), "Ints([2, 2, 2, 2])");
    }
}
