//! A model with some of its layers in int8: which ones, is measured.
//!
//! Layers with constant weights (linear layers, and convolutions but for depthwise ones and those of images) are candidates.
//! Depthwise convolutions are as fast in float; their weights are rounded to int8 where the tolerance allows, which a bundle stores.
//! Weights are symmetric with one scale per column, inputs asymmetric with one scale each, from the values that calibration
//! images made of them. A layer is taken where int8 is faster on this machine; of those, as many as the tolerance allows,
//! the least harmful first. The rest of the network stays float, as do the tensors between layers.
//!
//! An int8 layer gives the same bits on every CPU. Decisions near a threshold change all the same against the float
//! network, so that thresholds have to be found anew: a quantised model has a digest of its own, and policies of the float
//! model are refused for it.
//!
//! ```no_run
//! use dyn_perceiver::{bundle::Target, model::Model, quantise::{Quantiser, QuantiseOptions}};
//!
//! # let images: Vec<Vec<f32>> = vec![];
//! let mut quantiser = Quantiser::new(Model::load("model.onnx")?)?;
//! quantiser.calibrate(&images)?;
//! let chosen = quantiser.choose(&images, None, &QuantiseOptions::default())?;
//! if chosen.pays {
//!     quantiser.compile(&chosen, None, Target::host(), "model.dynp")?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod choose;
mod error;
mod filters;
mod range;
mod rewrite;
mod timing;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dyn_perceiver_kernels::gemm::PackedI8;
use dyn_perceiver_kernels::memory::{as_floats, words_of};
use dyn_perceiver_kernels::thread_pool::ThreadPool;
use sha2::{Digest as _, Sha256};
use tract_core::prelude::{TractError, TractResult};

pub use choose::{Chosen, ExitCheck, QuantiseOptions, Verdict};
pub use error::QuantiseError;
pub use range::{Range, RangeMethod};

use crate::bundle::{self, BundleError, Compiled, Target};
use crate::exit::{CalibratedPolicy, ModelDigest};
use crate::graph::GraphError;
use crate::graph::parts::Parts;
use crate::model::Model;
use crate::ops::Fused;
use crate::plan::Plan;
use crate::runtime::{RunError, Runtime};
use range::Histogram;
use rewrite::{Found, Product, Scheme};

/// Images on which each layer's own error is measured.
const ERROR_IMAGES: usize = 8;

/// A layer that could be int8, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Layer {
    /// Its name in the graph.
    pub name: String,
    /// Rows of its input.
    pub rows: usize,
    /// Entries of a row.
    pub reduction: usize,
    /// Entries of a row of its output.
    pub columns: usize,
    /// Whether float computes it by Winograd's filtering, with a quarter of the multiplications: what its float time is of.
    pub winograd: bool,
    /// What its input's bytes stand for; none where no finite values were seen.
    pub range: Option<Range>,
    /// Squared error of its output in int8 over the squared output, on some calibration images.
    pub error: f64,
    /// Median time in float, once measured.
    pub float_time: Duration,
    /// Median time in int8, once measured.
    pub int8_time: Duration,
}

impl Layer {
    /// Multiply-accumulates.
    pub fn macs(&self) -> u64 {
        self.rows as u64 * self.reduction as u64 * self.columns as u64
    }
}

/// A float model and what is known of its layers in int8.
pub struct Quantiser {
    parts: Parts,
    float: Arc<Plan>,
    layers: Vec<Layer>,
    /// For each layer.
    weights: Vec<(Product, PackedI8)>,
    /// Depthwise convolutions, those first that rounded weights harm most.
    filters: Vec<String>,
}

impl fmt::Debug for Quantiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quantiser").field("plan", &self.float).field("layers", &self.layers).finish_non_exhaustive()
    }
}

impl Quantiser {
    /// Finds the layers of a model that could be int8.
    ///
    /// # Errors
    /// [`QuantiseError`] when the model cannot be made a plan or has no such layer.
    pub fn new(model: Model) -> Result<Quantiser, QuantiseError> {
        let path = model.info().path.clone();
        let parts = Parts::of(model, true)?;
        let float = Arc::new(Plan::from_parts(parts.clone())?);
        let found = rewrite::layers(&parts.segments).map_err(|error| graph_error(&path, error))?;
        if found.is_empty() {
            return Err(QuantiseError::NoLayers { path });
        }
        let (mut layers, mut weights) = (vec![], vec![]);
        for Found { name, product, packed } in found {
            let [rows, reduction, columns] = product.size();
            let (float_time, int8_time) = (Duration::ZERO, Duration::ZERO);
            let winograd = matches!(product, Product::Winograd(_));
            let (range, error) = (None, 0.0);
            layers.push(Layer { name, rows, reduction, columns, winograd, range, error, float_time, int8_time });
            weights.push((product, packed));
        }
        let filters = filters::find(&parts.segments).map_err(|error| graph_error(&path, error))?;
        Ok(Quantiser { parts, float, layers, weights, filters })
    }

    /// The float model's plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.float
    }

    /// The layers, in the order in which they run.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Names of the depthwise convolutions, whose weights may be rounded; those first that it harms most.
    pub fn filters(&self) -> &[String] {
        &self.filters
    }

    /// Runs images, NCHW tensors of the model's input, and finds each layer's range and error.
    ///
    /// # Errors
    /// [`QuantiseError::NoImages`], or what running one says.
    pub fn calibrate(&mut self, images: &[Vec<f32>]) -> Result<(), QuantiseError> {
        if images.is_empty() {
            return Err(QuantiseError::NoImages { path: self.float.info().path.clone() });
        }
        let mut runtime = Runtime::new(self.float.clone())?;
        let places: HashMap<String, usize> =
            self.layers.iter().enumerate().map(|(at, layer)| (layer.name.clone(), at)).collect();
        let mut ends = vec![(f32::INFINITY, f32::NEG_INFINITY); self.layers.len()];
        observe(&mut runtime, images, &places, |at, inputs| {
            let (low, high) = &mut ends[at];
            for value in inputs[0].0 {
                // A NaN makes both ends NaN, and the layer stays float.
                *low = if *value < *low || value.is_nan() { *value } else { *low };
                *high = if *value > *high || value.is_nan() { *value } else { *high };
            }
        })?;
        let mut histograms: Vec<_> = ends.into_iter().map(|(low, high)| Histogram::new(low, high)).collect();
        observe(&mut runtime, images, &places, |at, inputs| {
            if let Some(histogram) = &mut histograms[at] {
                histogram.add(inputs[0].0);
            }
        })?;
        for (layer, histogram) in self.layers.iter_mut().zip(histograms) {
            layer.range = histogram.map(|histogram| histogram.range());
        }
        self.measure_errors(&mut runtime, &images[..images.len().min(ERROR_IMAGES)], &places)
    }

    fn measure_errors(
        &mut self,
        runtime: &mut Runtime,
        images: &[Vec<f32>],
        places: &HashMap<String, usize>,
    ) -> Result<(), QuantiseError> {
        let mut errors = vec![(0.0, 0.0); self.layers.len()];
        let mut pool = ThreadPool::single();
        let mut failed = None;
        observe(runtime, images, places, |at, inputs| {
            let (product, packed) = &self.weights[at];
            let Some(scheme) = self.scheme(at) else { return };
            let (words, scales) = (words_of(&packed.weights), scheme.scales());
            let (len, columns) = ([words.len()], [packed.column_sums.len()]);
            let mut quantised = vec![
                inputs[0],
                (as_floats(&words), &len[..]),
                (as_floats(&packed.column_sums), &columns[..]),
                (scales.as_slice(), &columns[..]),
            ];
            quantised.extend(&inputs[2..]);
            let int8 = product.int8(scheme);
            let results = evaluate(product.float(), inputs, &mut pool)
                .and_then(|expected| Ok((expected, evaluate(int8.fused(), &quantised, &mut pool)?)));
            let (expected, found) = match results {
                Ok(results) => results,
                Err(error) => {
                    failed.get_or_insert(error);
                    return;
                }
            };
            let (error, signal) = &mut errors[at];
            for (e, f) in expected.iter().zip(&found) {
                *error += f64::from(e - f).powi(2);
                *signal += f64::from(*e).powi(2);
            }
        })?;
        if let Some(error) = failed {
            return Err(graph_error(&self.float.info().path, error));
        }
        for (layer, (error, signal)) in self.layers.iter_mut().zip(errors) {
            layer.error = error / f64::max(signal, f64::MIN_POSITIVE);
        }
        Ok(())
    }

    fn scheme(&self, at: usize) -> Option<Scheme<'_>> {
        let (scale, zero_point) = self.layers[at].range?.scheme();
        Some(Scheme { scale, zero_point, packed: &self.weights[at].1 })
    }

    /// The model with the layers in int8 for which `taken` says so and those filters rounded, under a digest of its own.
    fn quantised(&self, taken: &[bool], filters: &[String]) -> Result<Parts, QuantiseError> {
        let mut parts = self.parts.clone();
        let mut digest = Sha256::new();
        digest.update(parts.info.digest.0);
        let mut schemes = HashMap::new();
        for at in (0..self.layers.len()).filter(|at| taken[*at]) {
            let Some(scheme) = self.scheme(at) else { continue };
            let name = self.layers[at].name.as_str();
            digest.update(name);
            digest.update(scheme.scale.to_le_bytes());
            digest.update([scheme.zero_point]);
            schemes.insert(name, scheme);
        }
        for name in filters {
            digest.update("filters");
            digest.update(name);
        }
        for segment in &mut parts.segments {
            let rounded = filters::round(&mut segment.graph, filters);
            let replaced = rounded.and_then(|()| rewrite::replace(&mut segment.graph, &schemes));
            replaced.map_err(|error| graph_error(&self.float.info().path, error))?;
        }
        parts.info.digest = ModelDigest(digest.finalize().into());
        Ok(parts)
    }

    /// The plan of the model with the layers in int8 for which `taken` says so; all others are float. Layers without a
    /// range stay float.
    ///
    /// # Errors
    /// [`QuantiseError::Plan`] when tract refuses it.
    pub fn plan_with(&self, taken: &[bool]) -> Result<Arc<Plan>, QuantiseError> {
        Ok(Arc::new(Plan::from_parts(self.quantised(taken, &[])?)?))
    }

    /// The plan of the model as it was chosen.
    ///
    /// # Errors
    /// [`QuantiseError::Plan`] when tract refuses it.
    pub fn plan_of(&self, chosen: &Chosen) -> Result<Arc<Plan>, QuantiseError> {
        Ok(Arc::new(Plan::from_parts(self.quantised(&chosen.taken(), &chosen.filters)?)?))
    }

    /// Writes the model with the chosen layers in int8 as a bundle. The file is there whole or not at all.
    ///
    /// # Errors
    /// [`BundleError`] when it has an operator that bundles cannot hold, the policy is not for the quantised model, or the
    /// file cannot be written.
    pub fn compile(
        &self,
        chosen: &Chosen,
        policy: Option<CalibratedPolicy>,
        target: Target,
        path: impl AsRef<Path>,
    ) -> Result<Compiled, BundleError> {
        let parts = self.quantised(&chosen.taken(), &chosen.filters).map_err(|error| BundleError::Content {
            path: self.float.info().path.clone(),
            place: "model".into(),
            reason: error.to_string(),
        })?;
        bundle::write(parts, policy, target, path.as_ref())
    }
}

fn graph_error(path: &Path, error: TractError) -> QuantiseError {
    GraphError { path: path.into(), place: "quantising".into(), source: error.into() }.into()
}

/// A kernel's inputs with their shapes.
type Inputs<'a> = [(&'a [f32], &'a [usize])];

/// What an operator makes of its inputs.
fn evaluate(op: &dyn Fused, inputs: &Inputs<'_>, pool: &mut ThreadPool) -> TractResult<Vec<f32>> {
    let shapes: Vec<&[usize]> = inputs.iter().map(|(_, shape)| *shape).collect();
    let mut scratch = vec![0.0; op.scratch_len(&shapes, 1)];
    let mut out = vec![0.0; op.output_shape(&shapes)?.iter().product()];
    op.compute(inputs, pool, &mut scratch, &mut out)?;
    Ok(out)
}

/// Runs images and hands on the inputs of the layers in `places` before they run.
fn observe(
    runtime: &mut Runtime,
    images: &[Vec<f32>],
    places: &HashMap<String, usize>,
    mut see: impl FnMut(usize, &Inputs<'_>),
) -> Result<(), RunError> {
    for image in images {
        runtime.observe(image, &mut |name, inputs| {
            if let Some(at) = places.get(name) {
                see(*at, inputs);
            }
        })?;
    }
    Ok(())
}
