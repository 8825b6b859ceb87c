//! RegNetY (Radosavovic et al., "Designing Network Design Spaces", CVPR 2020), module names as in torchvision.

use super::{Backbone, Family, owned};
use crate::builder::{Activation, Builder};
use crate::convolution::Conv;
use crate::graph::Value;

pub(super) const FAMILY: Family = Family {
    published: &["reg400m", "reg800m", "reg1x6g", "reg3x2g"],
    latents: 128,
    parse,
    candidates: || owned(FAMILY.published),
};

const EPSILON: f64 = 1e-5;
const STEM: usize = 32;

/// One stage: output channels, blocks, channels per group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stage {
    channels: usize,
    depth: usize,
    group_width: usize,
}

struct RegNet {
    stages: [Stage; 4],
}

fn parse(name: &str) -> Option<Box<dyn Backbone>> {
    let stages = match name {
        "reg400m" => stages(48.0, 27.89, 2.09, 16, 8),
        "reg800m" => stages(56.0, 38.84, 2.4, 14, 16),
        "reg1x6g" => stages(48.0, 20.71, 2.65, 27, 24),
        "reg3x2g" => stages(80.0, 42.63, 2.66, 21, 24),
        _ => return None,
    }?;
    Some(Box::new(RegNet { stages }))
}

/// Equations 2 to 4 of the RegNet paper: block j has width w_0 + w_a j, rounded to a power of w_m times w_0 and then to a
/// multiple of 8; blocks of equal width are a stage, whose width is made a multiple of its group width.
fn stages(w_0: f64, w_a: f64, w_m: f64, depth: usize, group_width: usize) -> Option<[Stage; 4]> {
    let mut stages: Vec<Stage> = Vec::new();
    for j in 0..depth {
        let power = ((w_0 + w_a * j as f64) / w_0).log(w_m).round_ties_even();
        let width = (w_0 * w_m.powf(power) / 8.0).round_ties_even() as usize * 8;
        match stages.last_mut() {
            Some(stage) if stage.channels == width => stage.depth += 1,
            _ => stages.push(Stage { channels: width, depth: 1, group_width }),
        }
    }
    for stage in &mut stages {
        stage.group_width = stage.group_width.min(stage.channels);
        stage.channels = round_to(stage.channels, stage.group_width);
    }
    stages.try_into().ok()
}

/// The multiple of `unit` nearest to `channels`, but not below 90 % of it.
fn round_to(channels: usize, unit: usize) -> usize {
    let rounded = ((channels + unit / 2) / unit * unit).max(unit);
    if rounded * 10 < channels * 9 { rounded + unit } else { rounded }
}

impl Backbone for RegNet {
    fn stem(&self, b: &mut Builder, image: &Value) -> Value {
        let conv = Conv { channels: STEM, kernel: 3, stride: 2, ..Conv::CENTRED };
        let x = b.conv_norm("feature/stem/conv", image, "cnn_stem.0", conv, "cnn_stem.1", EPSILON);
        b.activation("feature/stem/relu", &x, Activation::Relu)
    }

    fn stage(&self, b: &mut Builder, k: usize, x: &Value) -> Value {
        let stage = self.stages[k - 1];
        let mut x = x.clone();
        for i in 0..stage.depth {
            let (name, key) = (format!("feature/stage{k}/block{i}"), format!("cnn_body.block{k}.block{k}-{i}"));
            x = block(b, &name, &key, &x, stage, if i == 0 { 2 } else { 1 });
        }
        x
    }

    fn classifier_hidden(&self) -> Option<usize> {
        None
    }
}

/// relu(shortcut + c(se(relu(b(relu(a(x))))))) with 1x1, grouped 3x3 and 1x1 convolutions.
fn block(b: &mut Builder, name: &str, key: &str, x: &Value, stage: Stage, stride: usize) -> Value {
    let channels = stage.channels;
    let conv_norm = |b: &mut Builder, part: &str, x: &Value, suffix: &str, kernel, stride, groups| {
        let key = format!("{key}.{suffix}");
        let conv = Conv { channels, kernel, stride, groups, ..Conv::CENTRED };
        b.conv_norm(&format!("{name}/{part}"), x, &format!("{key}.0"), conv, &format!("{key}.1"), EPSILON)
    };
    let residual = stride == 1 && x.shape[1] == channels;
    let shortcut = if residual { x.clone() } else { conv_norm(b, "shortcut", x, "proj", 1, stride, 1) };
    let y = if residual {
        // No published video network has this backbone: the rule of MobileNets, blocks with a plain skip.
        let (y, weight) = b.shifted(name, x, format!("{key}.f.a.0"));
        let conv = Conv::pointwise(channels);
        b.conv_norm(&format!("{name}/a"), &y, &weight, conv, &format!("{key}.f.a.1"), EPSILON)
    } else {
        conv_norm(b, "a", x, "f.a", 1, 1, 1)
    };
    let y = b.activation(&format!("{name}/a/relu"), &y, Activation::Relu);
    let y = conv_norm(b, "b", &y, "f.b", 3, stride, channels / stage.group_width);
    let y = b.activation(&format!("{name}/b/relu"), &y, Activation::Relu);
    // A quarter of the channels the block receives, not of those it squeezes.
    let squeezed = (x.shape[1] as f64 * 0.25).round_ties_even() as usize;
    let y = b.squeeze_excite(&format!("{name}/se"), &y, &format!("{key}.f.se"), squeezed, Activation::Sigmoid);
    let y = conv_norm(b, "c", &y, "f.c", 1, 1, 1);
    let y = b.add(&format!("{name}/residual"), &shortcut, &y);
    b.activation(&format!("{name}/relu"), &y, Activation::Relu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_and_depths_are_those_of_the_paper() {
        // Radosavovic et al., appendix table of RegNetY models.
        let of =
            |w_0, w_a, w_m, depth, group| stages(w_0, w_a, w_m, depth, group).unwrap().map(|s| (s.channels, s.depth));
        assert_eq!(of(48.0, 27.89, 2.09, 16, 8), [(48, 1), (104, 3), (208, 6), (440, 6)]);
        assert_eq!(of(56.0, 38.84, 2.4, 14, 16), [(64, 1), (144, 3), (320, 8), (784, 2)]);
        assert_eq!(of(48.0, 20.71, 2.65, 27, 24), [(48, 2), (120, 6), (336, 17), (888, 2)]);
        assert_eq!(of(80.0, 42.63, 2.66, 21, 24), [(72, 2), (216, 5), (576, 13), (1512, 1)]);
    }
}
