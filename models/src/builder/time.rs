//! Temporal shift (Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019): an eighth of
//! a residual block's input channels comes from another frame, and its skip connection sees the input unshifted.

use super::{Attribute, Builder, Source, Value};

/// Channels of a block's input per channel that is shifted.
const SHARE: usize = 8;

/// The frames that a network of videos sees at once, and where shifted channels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frames {
    /// One frame; shifted channels are an input, the state, and what the next frame needs is an output.
    Online,
    /// A clip as one batch of `frames`.
    Clip {
        frames: usize,
        /// Whether one eighth comes from the frame after, and only the second one from the frame before.
        both_ways: bool,
    },
}

/// Names of a state's input and output.
pub(crate) fn state_names(k: usize) -> [String; 2] {
    [format!("state.{k}"), format!("state.{k}.next")]
}

impl Builder {
    /// The input of a residual block's first convolution and that convolution's key: shifted and with the name of
    /// TSM's wrapper for videos, both as they are otherwise.
    pub(crate) fn shifted(&mut self, name: &str, x: &Value, key: String) -> (Value, String) {
        let Some(frames) = self.frames else { return (x.clone(), key) };
        let y = match frames {
            Frames::Online => self.with_state(name, x),
            Frames::Clip { frames, both_ways } => self.within_clip(name, x, frames, both_ways),
        };
        (y, format!("{key}.net"))
    }

    fn with_state(&mut self, name: &str, x: &Value) -> Value {
        let fold = x.shape[1] / SHARE;
        let [input, output] = state_names(self.graph.states.len());
        let state = Value { name: input, shape: vec![1, fold, x.shape[2], x.shape[3]] };
        let next = self.slice(&format!("{name}/shift/next"), x, 1, 0..fold);
        if let Some(node) = self.graph.nodes.last_mut() {
            node.output.clone_from(&output);
        }
        self.graph.states.push((state.clone(), Value { name: output, ..next }));
        let rest = self.slice(&format!("{name}/shift/rest"), x, 1, fold..x.shape[1]);
        self.concat(&format!("{name}/shift"), &[&state, &rest])
    }

    fn within_clip(&mut self, name: &str, x: &Value, frames: usize, both_ways: bool) -> Value {
        let (channels, fold) = (x.shape[1], x.shape[1] / SHARE);
        let zeros = vec![0.0; fold * x.shape[2] * x.shape[3]];
        let shape = [1, fold, x.shape[2], x.shape[3]];
        let zeros = self.initializer(format!("{name}/shift/zeros"), &shape, Source::Numbers(zeros));
        let moved = |b: &mut Builder, part: &str, channels: std::ops::Range<usize>, forward: bool| {
            let of_channels = b.slice(&format!("{name}/shift/{part}/channels"), x, 1, channels);
            let kept = if forward { 0..frames - 1 } else { 1..frames };
            let kept = b.slice(&format!("{name}/shift/{part}/frames"), &of_channels, 0, kept);
            let inputs = if forward { [&zeros, &kept.name] } else { [&kept.name, &zeros] };
            let inputs = inputs.map(String::as_str);
            b.node(&format!("{name}/shift/{part}"), "Concat", &inputs, vec![("axis", Attribute::Int(0))], kept.shape)
        };
        let parts = if both_ways {
            let after = moved(self, "after", 0..fold, false);
            let before = moved(self, "before", fold..2 * fold, true);
            vec![after, before, self.slice(&format!("{name}/shift/rest"), x, 1, 2 * fold..channels)]
        } else {
            let before = moved(self, "before", 0..fold, true);
            vec![before, self.slice(&format!("{name}/shift/rest"), x, 1, fold..channels)]
        };
        self.concat(&format!("{name}/shift"), &parts.iter().collect::<Vec<_>>())
    }

    /// `range` of an axis. Along the batch, axis 0, the shape stays that of one frame.
    fn slice(&mut self, name: &str, x: &Value, axis: usize, range: std::ops::Range<usize>) -> Value {
        let mut number = |what: &str, value: usize| self.integers(format!("{name}/{what}"), vec![value as i64]);
        let (starts, ends, axes) = (number("starts", range.start), number("ends", range.end), number("axes", axis));
        let mut shape = x.shape.clone();
        if axis > 0 {
            shape[axis] = range.len();
        }
        self.node(name, "Slice", &[&x.name, &starts, &ends, &axes], vec![], shape)
    }

    /// The logits of a clip: the mean over its frames, (1, C).
    pub(super) fn mean_over_frames(&mut self, name: &str, x: &Value) -> Value {
        let axes = self.integers(format!("{name}/axes"), vec![0]);
        self.node(name, "ReduceMean", &[&x.name, &axes], vec![("keepdims", Attribute::Int(1))], x.shape.clone())
    }
}
