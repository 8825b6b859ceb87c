//! Pyramid and head of a detector on the features of the backbone (FPN and RetinaNet; names as in MMDetection).

use crate::builder::{Activation, Builder, SharedConv};
use crate::convolution::Conv;
use crate::graph::Value;
use crate::task::{ANCHORS, Detection, Extra, LEVELS};

/// Coordinates of a box.
const COORDINATES: usize = 4;

const fn conv(channels: usize, kernel: usize, stride: usize) -> Conv {
    Conv { channels, kernel, stride, ..Conv::CENTRED }
}

/// Writes the maps of all levels, `cls.P3` to `box.P7`, from the features at strides 8, 16 and 32.
pub(crate) fn describe(b: &mut Builder, detection: &Detection, features: &[Value; 3]) {
    let levels = pyramid(b, detection, features);
    let classes = Tower::new(b, detection, "cls", "retina_cls", ANCHORS * detection.classes);
    let boxes = Tower::new(b, detection, "reg", "retina_reg", ANCHORS * COORDINATES);
    // Coarse levels first, in the order in which they are wanted.
    for (level, x) in LEVELS.iter().zip(&levels).rev() {
        classes.apply(b, level, x, &format!("cls.{level}"));
        boxes.apply(b, level, x, &format!("box.{level}"));
    }
}

/// P3 to P7.
fn pyramid(b: &mut Builder, detection: &Detection, features: &[Value; 3]) -> [Value; 5] {
    let channels = detection.pyramid;
    let lateral = |b: &mut Builder, i: usize| {
        let (name, key) = (format!("neck/lateral{i}"), format!("neck.lateral_convs.{i}.conv"));
        b.conv(&name, &features[i], &key, conv(channels, 1, 1))
    };
    let out = |b: &mut Builder, i: usize, x: &Value, stride: usize| {
        b.conv(&format!("neck/out{i}"), x, &format!("neck.fpn_convs.{i}.conv"), conv(channels, 3, stride))
    };
    let top = lateral(b, 2);
    let p5 = out(b, 2, &top, 1);
    let p6 = match detection.extra {
        Extra::OnInput => out(b, 3, &features[2], 2),
        Extra::OnLateral => out(b, 3, &top, 2),
        Extra::OnOutput => out(b, 3, &p5, 2),
    };
    let p7 = out(b, 4, &p6, 2);
    let merged = |b: &mut Builder, i: usize, above: &Value| {
        let lateral = lateral(b, i);
        let above = b.upsample(&format!("neck/up{i}"), above);
        b.add(&format!("neck/sum{i}"), &lateral, &above)
    };
    let middle = merged(b, 1, &top);
    let p4 = out(b, 1, &middle, 1);
    let fine = merged(b, 0, &middle);
    let p3 = out(b, 0, &fine, 1);
    [p3, p4, p5, p6, p7]
}

/// The convolutions of one half of the head, the same for every level.
struct Tower {
    name: &'static str,
    convs: Vec<SharedConv>,
    last: SharedConv,
}

impl Tower {
    fn new(b: &mut Builder, detection: &Detection, name: &'static str, last: &str, outputs: usize) -> Tower {
        let mut from = detection.pyramid;
        let mut convs = Vec::new();
        for i in 0..detection.tower_convolutions {
            let key = format!("bbox_head.{name}_convs.{i}.conv");
            convs.push(b.shared_conv(&key, from, conv(detection.tower_channels, 3, 1)));
            from = detection.tower_channels;
        }
        let last = b.shared_conv(&format!("bbox_head.{last}"), from, conv(outputs, 3, 1));
        Tower { name, convs, last }
    }

    fn apply(&self, b: &mut Builder, level: &str, x: &Value, output: &str) {
        let mut x = x.clone();
        for (i, conv) in self.convs.iter().enumerate() {
            let name = format!("head/{level}/{}{i}", self.name);
            let y = b.apply(&name, &x, conv);
            x = b.activation(&format!("{name}/relu"), &y, Activation::Relu);
        }
        let y = b.apply(&format!("head/{level}/{}", self.name), &x, &self.last);
        b.output(y, output);
    }
}
