//! ResNet-50 (He et al., "Deep Residual Learning", CVPR 2016) with all channels times a multiplier, module names as in
//! timm; the stride of a bottleneck is on its 3x3 convolution.

use super::{Backbone, Family, owned};
use crate::builder::{Activation, Builder};
use crate::convolution::Conv;
use crate::graph::Value;

pub(super) const FAMILY: Family = Family {
    published: &["resnet50_0375", "resnet50_050", "resnet50_0625", "resnet50_075", "resnet50"],
    latents: 128,
    parse,
    candidates: || owned(FAMILY.published),
};

const EPSILON: f64 = 1e-5;
const CHANNELS: usize = 64;
const BLOCKS: [usize; 4] = [3, 4, 6, 3];
/// Output channels of a bottleneck over its inner ones.
const EXPANSION: usize = 4;

struct ResNet50 {
    /// Inner channels of stage 1.
    base: usize,
}

fn parse(name: &str) -> Option<Box<dyn Backbone>> {
    let multiplier: f64 = match name.strip_prefix("resnet50")? {
        "" => 1.0,
        suffix => {
            let digits = suffix.strip_prefix("_0")?;
            if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
                return None;
            }
            format!("0.{digits}").parse().ok()?
        }
    };
    let base = (CHANNELS as f64 * multiplier) as usize;
    // Attention that writes to features is an eighth of their channels wide.
    (base >= 8).then(|| Box::new(ResNet50 { base }) as Box<dyn Backbone>)
}

impl Backbone for ResNet50 {
    fn stem(&self, b: &mut Builder, image: &Value) -> Value {
        let conv = Conv { channels: self.base, kernel: 7, stride: 2, ..Conv::CENTRED };
        let x = b.conv_norm("feature/stem/conv", image, "cnn_stem.0", conv, "cnn_stem.1", EPSILON);
        let x = b.activation("feature/stem/relu", &x, Activation::Relu);
        b.max_pool("feature/stem/pool", &x, 3, 2, 1)
    }

    fn stage(&self, b: &mut Builder, k: usize, x: &Value) -> Value {
        let channels = self.base << (k - 1);
        let mut x = x.clone();
        for i in 0..BLOCKS[k - 1] {
            let (name, key) = (format!("feature/stage{k}/block{i}"), format!("cnn_body_stage{k}.{i}"));
            x = bottleneck(b, &name, &key, &x, channels, if i == 0 && k > 1 { 2 } else { 1 });
        }
        x
    }

    fn classifier_hidden(&self) -> Option<usize> {
        None
    }
}

fn bottleneck(b: &mut Builder, name: &str, key: &str, x: &Value, inner: usize, stride: usize) -> Value {
    let out = inner * EXPANSION;
    let conv_norm = |b: &mut Builder, i: usize, x: &Value, weight: &str, channels, kernel, stride| {
        let conv = Conv { channels, kernel, stride, ..Conv::CENTRED };
        b.conv_norm(&format!("{name}/conv{i}"), x, weight, conv, &format!("{key}.bn{i}"), EPSILON)
    };
    let shortcut = if stride != 1 || x.shape[1] != out {
        let conv = Conv { channels: out, kernel: 1, stride, ..Conv::CENTRED };
        let (weight, norm) = (format!("{key}.downsample.0"), format!("{key}.downsample.1"));
        b.conv_norm(&format!("{name}/shortcut"), x, &weight, conv, &norm, EPSILON)
    } else {
        x.clone()
    };
    let (y, weight) = b.shifted(name, x, format!("{key}.conv1"));
    let y = conv_norm(b, 1, &y, &weight, inner, 1, 1);
    let y = b.activation(&format!("{name}/conv1/relu"), &y, Activation::Relu);
    let y = conv_norm(b, 2, &y, &format!("{key}.conv2"), inner, 3, stride);
    let y = b.activation(&format!("{name}/conv2/relu"), &y, Activation::Relu);
    let y = conv_norm(b, 3, &y, &format!("{key}.conv3"), out, 1, 1);
    let y = b.add(&format!("{name}/residual"), &shortcut, &y);
    b.activation(&format!("{name}/relu"), &y, Activation::Relu)
}
