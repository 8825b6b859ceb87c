//! The two-branch network, said once for all backbones (Han et al., section 3.1 and figure 2).

use std::collections::BTreeMap;

use crate::attention::{cross_attention, self_attention};
use crate::backbone::Backbone;
use crate::builder::{Activation, Builder};
use crate::graph::{Graph, Parameter, ParameterKind, Value};
use crate::task::{STRIDES, Task};
use crate::{Config, Error, detection};

/// The four exits, in the order of their cost.
pub const EXITS: [&str; 4] = ["early3", "att", "cnn", "merge"];

/// Attention heads of the four stages.
const HEADS: [usize; 4] = [1, 2, 4, 8];
/// Side of the pooled features the latent code reads.
const POOLED: usize = 7;
/// Kernel of the depthwise convolution before reading.
const DEPTHWISE: usize = 7;
/// Epsilon of the batch normalisations outside the backbone.
const BATCH_NORM_EPSILON: f64 = 1e-5;
/// Width of the attention that writes the latent code into features, as a share of their channels.
const Z2X_SHARE: usize = 8;

/// What stands before the backbone's keys in the state dict of a detector.
const DETECTOR_PREFIX: &str = "backbone.dyn_perceiver.";

/// One network of the family: its graph and its state dict's keys and shapes, but no weights.
#[derive(Debug, Clone)]
pub struct Network {
    config: Config,
    graph: Graph,
    half_weights: bool,
}

impl Network {
    /// Describes the network of `config`.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a backbone that does not exist, [`Error::Configuration`] for an impossible number.
    pub fn new(config: &Config) -> Result<Network, Error> {
        let backbone = config.resolve()?;
        let mut b = Builder::default();
        match &config.task {
            Task::Classification => {}
            Task::Detection(_) => b.prefix = DETECTOR_PREFIX,
            Task::Action(action) => b.frames = Some(action.builder_frames()),
        }
        let mut describer = Describer { b, config, backbone: backbone.as_ref(), features: Vec::new() };
        describer.describe()?;
        Ok(Network { config: config.clone(), graph: describer.b.graph, half_weights: false })
    }

    /// Writes weights in half precision, each followed by a `Cast` to float: a file of half the size, whose results differ
    /// by the rounding of the weights. Biases and other small tensors stay float.
    #[must_use]
    pub fn with_half_weights(mut self, half: bool) -> Network {
        self.half_weights = half;
        self
    }

    /// What this network was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The state dict: key to shape, batch-normalisation statistics included.
    pub fn parameters(&self) -> &BTreeMap<String, Parameter> {
        &self.graph.parameters
    }

    /// Number of learned numbers, as PyTorch counts them.
    pub fn parameter_count(&self) -> usize {
        let learned = self.graph.parameters.values().filter(|p| p.kind == ParameterKind::Learned);
        learned.map(|p| p.shape.iter().product::<usize>()).sum()
    }

    /// Multiply-accumulates each exit of [`EXITS`] needs by itself for one image, frame or clip: output elements times
    /// reduction length over the Conv, MatMul and Gemm nodes it depends on.
    pub fn macs_per_exit(&self) -> [u64; 4] {
        EXITS.map(|exit| self.macs_to(&[exit]))
    }

    /// Multiply-accumulates that the outputs of these names need together for one image, frame or clip.
    pub fn macs_to(&self, outputs: &[&str]) -> u64 {
        self.graph.macs_to(outputs) * self.clip_frames().unwrap_or(1) as u64
    }

    /// Frames of the clip that is the network's input; none if it takes one image at a time.
    pub(crate) fn clip_frames(&self) -> Option<usize> {
        match self.config.task {
            Task::Action(action) if action.mode != crate::VideoMode::Online => Some(action.frames),
            _ => None,
        }
    }

    /// The image, or the frame, that the network takes.
    pub(crate) fn image(&self) -> Value {
        image(&self.config)
    }

    pub(crate) fn half_weights(&self) -> bool {
        self.half_weights
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
}

fn image(config: &Config) -> Value {
    let [height, width] = config.input_size;
    Value { name: "image".to_owned(), shape: vec![1, 3, height, width] }
}

struct Describer<'a> {
    b: Builder,
    config: &'a Config,
    backbone: &'a dyn Backbone,
    /// Features of the stages, after the latent code was written into them.
    features: Vec<Value>,
}

impl Describer<'_> {
    fn describe(&mut self) -> Result<(), Error> {
        let image = image(self.config);
        let mut x = self.backbone.stem(&mut self.b, &image);
        let mut z = self.b.latent("latent", &[self.config.latents, x.shape[1]]);
        let mut early3 = None;
        for k in 1..=4 {
            if k > 1 {
                z = self.next_tokens(k - 1, &z, x.shape[1]);
                if self.config.with_z2x {
                    x = self.write_features(k, &x, &z);
                }
                self.features.push(x.clone());
            }
            // Without x2z only the later stages stop reading features: stage 1 has nothing else to start from.
            if k == 1 || self.config.with_x2z {
                z = self.read_features(k, &z, &x);
            }
            for layer in 0..self.config.layers(k) {
                let (name, key) = (format!("classification/sa{k}/layer{layer}"), format!("self_att{k}.{layer}"));
                z = self_attention(&mut self.b, &name, &key, &z, HEADS[k - 1], self.config.sa_widening);
            }
            if k == 3 {
                early3 = Some(self.early_exit(&z));
            }
            if k < 4 {
                x = self.backbone.stage(&mut self.b, k, &x);
            }
        }
        let m = self.b.mean("classification/att/mean", &z, &[1]);
        let att = self.attention_exit(&m, early3.as_ref());
        let x = self.backbone.stage(&mut self.b, 4, &x);
        let pooled = self.feature_exit(&x);
        self.merged_exit(&x, &z, &m, &att, &pooled);
        match &self.config.task {
            Task::Detection(task) => {
                let levels = self.levels(image.shape[2])?;
                self.b.prefix = "";
                detection::describe(&mut self.b, task, &levels);
            }
            Task::Classification | Task::Action(_) => {}
        }
        Ok(())
    }

    /// The features at strides 8, 16 and 32; of several, the last.
    fn levels(&self, height: usize) -> Result<[Value; 3], Error> {
        let find = |stride: usize| {
            let of_stride = self.features.iter().rev().find(|x| x.shape[2] * stride == height);
            of_stride.cloned().ok_or_else(|| Error::Configuration {
                field: "backbone of a detector",
                actual: self.config.backbone.clone(),
                expected: format!("one with features at stride {stride}"),
            })
        };
        Ok([find(STRIDES[0])?, find(STRIDES[1])?, find(STRIDES[2])?])
    }

    /// Features (1, C, H, W) as tokens (1, H * W, C).
    fn tokens(&mut self, name: &str, x: &Value) -> Value {
        let flat = self.b.reshape(&format!("{name}/flat"), x, &[x.shape[1], x.shape[2] * x.shape[3]]);
        self.b.transpose(&format!("{name}/tokens"), &flat, &[0, 2, 1])
    }

    /// x2z_k: the latent code attends to the pooled features.
    fn read_features(&mut self, k: usize, z: &Value, x: &Value) -> Value {
        let name = format!("classification/x2z{k}");
        let mut kv = x.clone();
        if self.config.with_dwc {
            kv = self.b.residual_depthwise(&format!("{name}/dwc"), &kv, &format!("dwc{k}_x2z"), DEPTHWISE);
        }
        if self.config.spatial_reduction {
            kv = self.b.adaptive_pool(&format!("{name}/pool"), &kv, POOLED);
        }
        let kv = self.tokens(&name, &kv);
        cross_attention(&mut self.b, &name, &format!("cross_att{k}_x2z"), (z, &kv), x.shape[1], true)
    }

    /// z2x_k: the features of every pixel attend to the latent code.
    fn write_features(&mut self, k: usize, x: &Value, z: &Value) -> Value {
        let name = format!("feature/z2x{k}");
        let q = self.tokens(&name, x);
        let width = (x.shape[1] / Z2X_SHARE).max(1);
        let y = cross_attention(&mut self.b, &name, &format!("cross_att{k}_z2x"), (&q, z), width, false);
        let y = self.b.transpose(&format!("{name}/channels"), &y, &[0, 2, 1]);
        self.b.reshape(&format!("{name}/image"), &y, &x.shape[1..])
    }

    /// mixer_k over the token axis to half the tokens, then expander_k to the next stage's channels.
    fn next_tokens(&mut self, k: usize, z: &Value, channels: usize) -> Value {
        let (mixer, expander) = (format!("classification/mixer{k}"), format!("classification/expander{k}"));
        let (mixer_key, expander_key) = (format!("token_mixer.{}", k - 1), format!("token_expander.{}", k - 1));
        let b = &mut self.b;
        let y = b.transpose(&format!("{mixer}/transposed"), z, &[0, 2, 1]);
        let y = b.layer_norm(&format!("{mixer}/norm"), &y, &format!("{mixer_key}.0"));
        let y =
            b.linear(&format!("{mixer}/linear"), &y, &format!("{mixer_key}.1"), self.config.tokens(k + 1), true, 1.0);
        let y = b.transpose(&format!("{mixer}/tokens"), &y, &[0, 2, 1]);
        let y = b.layer_norm(&format!("{expander}/norm"), &y, &format!("{expander_key}.0"));
        b.linear(&format!("{expander}/linear"), &y, &format!("{expander_key}.1"), channels, true, 1.0)
    }

    fn early_exit(&mut self, z: &Value) -> Value {
        let m = self.b.mean("classification/early3/mean", z, &[1]);
        let y = self.b.dense("classification/early3/classifier", &m, "early_classifier3", self.config.classes);
        self.b.exit(y, "early3")
    }

    /// Information skip connection: the logits of the exit before as `channels` features.
    fn skip_connection(&mut self, k: usize, logits: &Value, channels: usize) -> Value {
        let name = format!("classification/isc{k}");
        let (linear, norm) = (format!("isc{k}.0"), format!("isc{k}.1"));
        let y = self.b.dense_norm(&format!("{name}/linear"), logits, &linear, channels, &norm, BATCH_NORM_EPSILON);
        self.b.activation(&format!("{name}/relu"), &y, Activation::Relu)
    }

    fn attention_exit(&mut self, m: &Value, early3: Option<&Value>) -> Value {
        let mut features = m.clone();
        if let Some(logits) = early3.filter(|_| self.config.with_isc) {
            let skip = self.skip_connection(3, logits, m.shape[1]);
            features = self.b.concat("classification/att/concat", &[m, &skip]);
        }
        let y = self.b.dense("classification/att/classifier", &features, "classifier_att", self.config.classes);
        self.b.exit(y, "att")
    }

    /// Returns the pooled features of the last stage.
    fn feature_exit(&mut self, x: &Value) -> Value {
        let pooled = self.b.mean("feature/cnn/mean", x, &[2, 3]);
        let classes = self.config.cnn_classes.unwrap_or(self.config.classes);
        let (name, key) = ("feature/cnn/classifier", "classifier_cnn");
        let y = match self.backbone.classifier_hidden() {
            None => self.b.dense(name, &pooled, key, classes),
            Some(hidden) => {
                let y = self.b.dense("feature/cnn/hidden", &pooled, &format!("{key}.0"), hidden);
                let y = self.b.activation("feature/cnn/hardswish", &y, Activation::HardSwish);
                self.b.dense(name, &y, &format!("{key}.3"), classes)
            }
        };
        self.b.exit(y, "cnn");
        pooled
    }

    fn merged_exit(&mut self, x: &Value, z: &Value, m: &Value, att: &Value, pooled: &Value) {
        let mut features = pooled.clone();
        let mut last = x.clone();
        if self.config.with_last_ca {
            let q = self.tokens("merge/z2x", x);
            let width = (x.shape[1] / Z2X_SHARE).max(1);
            let y = cross_attention(&mut self.b, "merge/z2x", "last_cross_att_z2x", (&q, z), width, false);
            features = self.b.mean("merge/mean", &y, &[1]);
            if matches!(self.config.task, Task::Detection(_)) {
                let y = self.b.transpose("merge/z2x/channels", &y, &[0, 2, 1]);
                last = self.b.reshape("merge/z2x/image", &y, &x.shape[1..]);
            }
        }
        self.features.push(last);
        let skip = self.config.with_isc.then(|| self.skip_connection(4, att, m.shape[1]));
        let parts: Vec<&Value> = [&features, m].into_iter().chain(&skip).collect();
        let joined = self.b.concat("merge/concat", &parts);
        let (name, key, classes) = ("merge/classifier", "classifier_merge", self.config.classes);
        let (norm, first) = (format!("{key}.0"), format!("{key}.1"));
        let y = match self.backbone.classifier_hidden() {
            None => self.b.norm_dense(name, &joined, &norm, BATCH_NORM_EPSILON, &first, classes),
            Some(hidden) => {
                let y = self.b.norm_dense("merge/hidden", &joined, &norm, BATCH_NORM_EPSILON, &first, hidden);
                let y = self.b.activation("merge/hardswish", &y, Activation::HardSwish);
                self.b.dense(name, &y, &format!("{key}.4"), classes)
            }
        };
        self.b.exit(y, "merge");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a reference count that infers shapes node by node lost this one: the linear layers over latent tokens,
    /// except output projections. Everything else it counted.
    fn is_latent_linear(name: &str) -> bool {
        let last = name.rsplit('/').next().unwrap_or_default();
        (name.starts_with("classification/sa") && ["q", "k", "v", "fc1", "fc2"].contains(&last))
            || (name.starts_with("classification/x2z") && ["q", "fc1", "fc2"].contains(&last))
            || (name.contains("z2x") && ["k", "v"].contains(&last))
            || name.starts_with("classification/mixer")
            || name.starts_with("classification/expander")
    }

    #[test]
    fn macs_without_the_latent_linears_are_those_of_an_independent_count() {
        // GMAC each exit needs, counted on the authors' model by other means, linear layers over latent tokens left out.
        let counted = [
            ("mobilenetV3_0x75_perceiver_t128", [1, 1, 1, 3], [0.0785, 0.1388, 0.1587, 0.2216]),
            ("reg800m_perceiver_t128", [1, 1, 1, 2], [0.3750, 0.8663, 1.0033, 1.0993]),
            ("resnet50_0375_perceiver_t128", [1, 1, 1, 1], [0.4736, 0.7747, 0.8592, 0.9556]),
        ];
        for (name, depth_factor, counted) in counted {
            let config = Config { depth_factor, ..Config::from_name(name).unwrap() };
            let mut network = Network::new(&config).unwrap();
            let all = network.macs_per_exit();
            network.graph.nodes.iter_mut().filter(|n| is_latent_linear(&n.name)).for_each(|n| n.macs = 0);
            for ((macs, all), counted) in network.macs_per_exit().into_iter().zip(all).zip(counted) {
                assert!((macs as f64 / 1e9 / counted - 1.0).abs() < 0.001, "{name}: {macs} against {counted} G");
                assert!(all > macs);
            }
        }
    }

    #[test]
    fn exits_need_only_their_own_part_of_the_network() {
        let network = Network::new(&Config::from_name("reg800m_perceiver_t128").unwrap()).unwrap();
        let names = |exit: &str| -> Vec<&str> {
            let mut needed = std::collections::BTreeSet::from([exit]);
            let mut names = Vec::new();
            for node in network.graph.nodes.iter().rev() {
                if needed.contains(node.output.as_str()) {
                    needed.extend(node.inputs.iter().map(String::as_str));
                    names.push(node.name.as_str());
                }
            }
            names
        };
        let needs = |exit: &str, part: &str| names(exit).iter().any(|name| name.starts_with(part));
        assert!(!needs("early3", "feature/stage3") && !needs("att", "feature/stage4"));
        assert!(!needs("cnn", "classification/x2z4") && !needs("cnn", "classification/sa4"));
        assert!(EXITS[..3].iter().all(|exit| !needs(exit, "merge/")));
        assert!(needs("merge", "classification/isc4") && needs("att", "classification/isc3"));
    }

    #[test]
    fn node_and_constant_names_are_unique() {
        for config in crate::family() {
            let graph = Network::new(&config).unwrap().graph;
            let outputs = graph.nodes.iter().map(|node| node.output.as_str());
            let names: Vec<&str> = outputs.chain(graph.initializers.iter().map(|i| i.name.as_str())).collect();
            let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
            assert_eq!(unique.len(), names.len(), "{}", config.name());
        }
    }
}
