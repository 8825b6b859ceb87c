//! MobileNetV3-Large (Howard et al., "Searching for MobileNetV3", ICCV 2019, table 1), module names as in torchvision.

use super::{Backbone, Family, owned, round_channels};
use crate::builder::{Activation, Builder};
use crate::convolution::Conv;
use crate::graph::Value;

pub(super) const FAMILY: Family = Family {
    published: &[
        "mobilenetV3_0x5",
        "mobilenetV3_0x75",
        "mobilenetV3",
        "mobilenetV3_1x25",
        "mobilenetV3_1x5",
        "mobilenetV3_2x0",
    ],
    latents: 128,
    parse,
    candidates,
};

const EPSILON: f64 = 1e-3;
/// Channels of the stem's convolution and of the hidden classifier layer at width 1.
const STEM: f64 = 16.0;
const HIDDEN: f64 = 1280.0;

/// Kernel, expanded channels, output channels, squeeze-excite, hard-swish, stride; channels at width 1.
const BLOCKS: [(usize, usize, usize, bool, bool, usize); 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];
/// Blocks of stem and stages 1 to 4, as ranges into `BLOCKS`.
const PIECES: [std::ops::Range<usize>; 5] = [0..2, 2..4, 4..7, 7..13, 13..15];

struct MobileNetV3 {
    width: f64,
}

fn parse(name: &str) -> Option<Box<dyn Backbone>> {
    let width = match name.strip_prefix("mobilenetV3")? {
        "" => 1.0,
        suffix => {
            let (whole, fraction) = suffix.strip_prefix('_')?.split_once('x')?;
            if !whole.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit()) {
                return None;
            }
            format!("{whole}.{fraction}").parse().ok()?
        }
    };
    (0.05..=8.0).contains(&width).then(|| Box::new(MobileNetV3 { width }) as Box<dyn Backbone>)
}

/// The published widths, then tenths, then twentieths: widths that round to the same channels are the same network, and
/// the shortest name is tried first.
fn candidates() -> Vec<String> {
    let tenths = (1..=20).map(|i| format!("mobilenetV3_{}x{}", i / 10, i % 10));
    let hundredths = (1..=40).map(|i| format!("mobilenetV3_{}x{:02}", i * 5 / 100, i * 5 % 100));
    owned(FAMILY.published).into_iter().chain(tenths).chain(hundredths).collect()
}

impl MobileNetV3 {
    fn channels(&self, at_width_1: usize) -> usize {
        round_channels(at_width_1 as f64 * self.width)
    }

    fn block(&self, b: &mut Builder, name: &str, key: &str, index: usize, x: &Value) -> Value {
        let (kernel, expanded, out, squeeze, hard_swish, stride) = BLOCKS[index];
        let (expanded, out) = (self.channels(expanded), self.channels(out));
        let activation = if hard_swish { Activation::HardSwish } else { Activation::Relu };
        let residual = stride == 1 && x.shape[1] == out;
        let mut y = x.clone();
        let mut layer = 0;
        let mut next = || {
            layer += 1;
            format!("{key}.block.{}", layer - 1)
        };
        if expanded != x.shape[1] {
            let conv = Conv::pointwise(expanded);
            let (expand, key) = (format!("{name}/expand"), next());
            y = if residual {
                let (shifted, weight) = b.shifted(name, x, format!("{key}.0"));
                let y = b.conv_norm(&expand, &shifted, &weight, conv, &format!("{key}.1"), EPSILON);
                b.activation(&format!("{expand}/act"), &y, activation)
            } else {
                conv_norm(b, &expand, &y, &key, conv, Some(activation))
            };
        }
        let conv = Conv { channels: expanded, kernel, stride, groups: expanded, ..Conv::CENTRED };
        y = conv_norm(b, &format!("{name}/depthwise"), &y, &next(), conv, Some(activation));
        if squeeze {
            // A quarter of the channels, in whole numbers, before rounding.
            let squeezed = round_channels((expanded / 4) as f64);
            y = b.squeeze_excite(&format!("{name}/se"), &y, &next(), squeezed, Activation::HardSigmoid);
        }
        let conv = Conv::pointwise(out);
        y = conv_norm(b, &format!("{name}/project"), &y, &next(), conv, None);
        if residual {
            y = b.add(&format!("{name}/residual"), x, &y);
        }
        y
    }

    /// The blocks of piece `k` (0 is the stem); their keys count on from `first`.
    fn blocks(&self, b: &mut Builder, name: &str, key: &str, k: usize, first: usize, x: &Value) -> Value {
        let mut x = x.clone();
        for (i, index) in PIECES[k].clone().enumerate() {
            x = self.block(b, &format!("{name}/block{i}"), &format!("{key}.{}", first + i), index, &x);
        }
        x
    }
}

impl Backbone for MobileNetV3 {
    fn stem(&self, b: &mut Builder, image: &Value) -> Value {
        let conv = Conv { channels: round_channels(STEM * self.width), kernel: 3, stride: 2, ..Conv::CENTRED };
        let x = conv_norm(b, "feature/stem/conv", image, "cnn_stem.0", conv, Some(Activation::HardSwish));
        self.blocks(b, "feature/stem", "cnn_stem", 0, 1, &x)
    }

    fn stage(&self, b: &mut Builder, k: usize, x: &Value) -> Value {
        let (name, key) = (format!("feature/stage{k}"), format!("cnn_body_stage{k}"));
        let x = self.blocks(b, &name, &key, k, 0, x);
        if k < 4 {
            return x;
        }
        let conv = Conv::pointwise(6 * x.shape[1]);
        let key = format!("{key}.{}", PIECES[4].len());
        conv_norm(b, &format!("{name}/last"), &x, &key, conv, Some(Activation::HardSwish))
    }

    fn classifier_hidden(&self) -> Option<usize> {
        Some(round_channels(HIDDEN * self.width))
    }
}

fn conv_norm(b: &mut Builder, name: &str, x: &Value, key: &str, conv: Conv, activation: Option<Activation>) -> Value {
    let y = b.conv_norm(name, x, &format!("{key}.0"), conv, &format!("{key}.1"), EPSILON);
    match activation {
        Some(activation) => b.activation(&format!("{name}/act"), &y, activation),
        None => y,
    }
}
