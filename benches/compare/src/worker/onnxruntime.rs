//! ONNX Runtime, its shared library found at run time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, anyhow};
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::TensorRef;

use super::Engine;
use crate::protocol::Load;
use crate::result::Device;

/// A session and its input.
pub(super) struct OnnxRuntime {
    session: Session,
    input: Vec<f32>,
    shape: [usize; 4],
    options: RunOptions<ort::session::HasSelectedOutputs>,
    names: Vec<String>,
}

/// The one environment of this process.
fn environment(library: Option<&Path>) -> anyhow::Result<&'static Environment> {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    if ENVIRONMENT.get().is_none() {
        let library =
            library.context("no shared library of ONNX Runtime was found; name one with --onnxruntime FILE")?;
        let builder = ort::init_from(library).map_err(|e| anyhow!("{}: {e}", library.display()))?;
        let _ = ENVIRONMENT.set(builder.with_telemetry(false).build()?);
    }
    ENVIRONMENT.get().context("no environment")
}

/// The library's version.
pub(super) fn version(library: Option<&Path>) -> anyhow::Result<String> {
    environment(library)?;
    // The file carries the version in its name; where it does not, the library's own account has to do.
    let file = library.and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let numbered = file.as_deref().and_then(|name| name.split_once(".so.")).map(|(_, version)| version.to_owned());
    Ok(numbered.unwrap_or_else(|| ort::info().to_owned()))
}

impl OnnxRuntime {
    pub(super) fn load(library: Option<&Path>, request: &Load, input: Vec<f32>) -> anyhow::Result<Self> {
        let environment = environment(library)?;
        let recover = |error: ort::Error<ort::session::builder::SessionBuilder>| anyhow!("{error}");
        let mut builder = Session::builder(environment)?
            .with_intra_threads(request.threads)
            .map_err(recover)?
            .with_inter_threads(1)
            .map_err(recover)?
            .with_optimization_level(GraphOptimizationLevel::Level3)
            .map_err(recover)?
            .with_dimension_override("N", request.shape[0] as i64)
            .map_err(recover)?;
        if request.device == Device::Cuda {
            builder = cuda(builder)?;
        }
        let session = builder.commit_from_file(&request.model)?;
        let all = || session.outputs().iter().map(|output| output.name().to_owned());
        let names: Vec<String> = request.fetch.clone().map_or_else(|| all().collect(), |name| vec![name]);
        let selector = names.iter().fold(OutputSelector::no_default(), |selector, name| selector.with(name));
        let options = RunOptions::new()?.with_outputs(selector);
        Ok(OnnxRuntime { session, input, shape: request.shape, options, names })
    }

    fn compute<T>(
        &mut self,
        read: impl FnOnce(&ort::session::SessionOutputs<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let input = TensorRef::from_array_view((self.shape, self.input.as_slice()))?;
        let outputs = self.session.run_with_options(ort::inputs![input], &self.options)?;
        read(&outputs)
    }
}

#[cfg(feature = "cuda")]
fn cuda(builder: ort::session::builder::SessionBuilder) -> anyhow::Result<ort::session::builder::SessionBuilder> {
    let provider = ort::ep::CUDA::default().build().error_on_failure();
    builder.with_execution_providers([provider]).map_err(|error| anyhow!("{error}"))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: ort::session::builder::SessionBuilder) -> anyhow::Result<ort::session::builder::SessionBuilder> {
    anyhow::bail!("built without the feature `cuda`")
}

impl Engine for OnnxRuntime {
    fn run(&mut self) -> anyhow::Result<()> {
        self.compute(|_| Ok(()))
    }

    fn outputs(&mut self) -> anyhow::Result<BTreeMap<String, Vec<f32>>> {
        let names = self.names.clone();
        self.compute(|outputs| {
            let value = |name: &String| -> anyhow::Result<Vec<f32>> {
                let value = outputs.get(name.as_str()).with_context(|| format!("no output {name:?}"))?;
                Ok(value.try_extract_tensor::<f32>()?.1.to_vec())
            };
            names.iter().map(|name| Ok((name.clone(), value(name)?))).collect()
        })
    }
}
