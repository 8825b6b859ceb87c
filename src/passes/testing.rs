//! How the tests of the passes compare a graph with what a pass made of it.

use tract_core::internal::*;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::einsum::EinSum;

pub(super) use dyn_perceiver_kernels::testing::values;

pub(super) fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_shape(shape, &values(seed, shape.iter().product())).unwrap()
}

/// A model under construction; names are made up.
#[derive(Default)]
pub(super) struct Builder(pub TypedModel);

impl Builder {
    pub(super) fn name(&self, prefix: &str) -> String {
        self.0.unique_name(prefix).into_owned()
    }

    pub(super) fn source(&mut self, shape: &[usize]) -> OutletId {
        self.0.add_source(self.name("source"), f32::fact(shape)).unwrap()
    }

    pub(super) fn constant(&mut self, shape: &[usize]) -> OutletId {
        let seed = self.0.nodes().len() as u64;
        self.0.add_const(self.name("constant"), tensor(seed, shape)).unwrap()
    }

    pub(super) fn scalar(&mut self, value: f32, rank: usize) -> OutletId {
        let tensor = tensor0(value).broadcast_into_rank(rank).unwrap();
        self.0.add_const(self.name("scalar"), tensor).unwrap()
    }

    pub(super) fn wire(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
        self.0.wire_node(self.name("node"), op, inputs).unwrap()[0]
    }

    pub(super) fn bin(&mut self, op: TypedBinOp, a: OutletId, b: OutletId) -> OutletId {
        self.wire(op, &[a, b])
    }

    pub(super) fn einsum(&mut self, expression: &str, a: OutletId, b: OutletId) -> OutletId {
        self.wire(EinSum::new(expression.parse().unwrap(), f32::datum_type()), &[a, b])
    }

    pub(super) fn shape(&self, outlet: OutletId) -> TVec<usize> {
        self.0.outlet_fact(outlet).unwrap().shape.as_concrete().unwrap().into()
    }

    pub(super) fn finish(mut self, outputs: &[OutletId]) -> TypedModel {
        self.0.select_output_outlets(outputs).unwrap();
        self.0
    }
}

fn run(model: TypedModel) -> TVec<TValue> {
    let inputs = (0..model.inputs.len())
        .map(|i| tensor(1000 + i as u64, model.input_fact(i).unwrap().shape.as_concrete().unwrap()).into_tvalue())
        .collect();
    model.into_runnable().unwrap().run(inputs).unwrap()
}

/// Applies `pass` and asserts that the model's outputs stay what they were, to 1e-4 of the largest value, before and
/// after tract's own optimisation. Gives back the new model.
pub(super) fn same(model: &TypedModel, pass: impl Fn(TypedModel) -> TractResult<TypedModel>) -> TypedModel {
    let expected = run(model.clone());
    let passed = pass(model.clone()).unwrap();
    for model in [passed.clone(), passed.clone().into_optimized().unwrap()] {
        let found = run(model);
        assert_eq!(expected.len(), found.len());
        for (e, f) in expected.iter().zip(&found) {
            assert_eq!(e.shape(), f.shape());
            let (e, f) = (e.try_as_plain_ram().unwrap(), f.try_as_plain_ram().unwrap());
            let (e, f) = (e.as_slice::<f32>().unwrap(), f.as_slice::<f32>().unwrap());
            let largest = e.iter().fold(1e-6_f32, |m, x| m.max(x.abs()));
            for (i, (e, f)) in e.iter().zip(f).enumerate() {
                assert!((e - f).abs() <= 1e-4 * largest, "element {i}: {f} instead of {e}, largest {largest}");
            }
        }
    }
    passed
}

/// Nodes of one kind of operator.
pub(super) fn count<O: TypedOp>(model: &TypedModel) -> usize {
    model.nodes().iter().filter(|n| n.op_is::<O>()).count()
}

/// Runs a pass that works in place.
pub(super) fn in_place(pass: fn(&mut TypedModel) -> TractResult<()>) -> impl Fn(TypedModel) -> TractResult<TypedModel> {
    move |mut model| {
        pass(&mut model)?;
        Ok(model)
    }
}
