//! What is known of a tensor before the graph runs: element type, shape and, for small ones, the values.

use tract_onnx::pb::tensor_proto::DataType;

/// A result whose error says what is wrong with the node; the caller knows which node it is.
pub(crate) type Check<T> = Result<T, String>;

/// Values of tensors with more elements than this are not followed.
pub(crate) const FOLLOWED: usize = 4096;

/// What is known of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub element: DataType,
    pub dims: Vec<usize>,
    /// The values, if they do not depend on the image and are few.
    pub value: Option<Value>,
    /// Whether the tensor does not depend on the image, so that it is computed on loading.
    pub constant: bool,
}

/// Values of a small tensor, row-major. Booleans are integers 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Ints(Vec<i64>),
    Floats(Vec<f32>),
}

impl Fact {
    /// A tensor whose values are not known.
    pub(crate) fn new(element: DataType, dims: Vec<usize>) -> Fact {
        Fact { element, dims, value: None, constant: false }
    }

    /// A tensor of known integers.
    pub(crate) fn of_ints(element: DataType, dims: Vec<usize>, values: Vec<i64>) -> Fact {
        Fact { value: Some(Value::Ints(values)), constant: true, ..Fact::new(element, dims) }
    }

    /// With these values, unless they are too many.
    pub(crate) fn with_value(mut self, value: Option<Value>) -> Fact {
        self.value = value.filter(|value| value.len() <= FOLLOWED);
        self
    }

    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> Check<usize> {
        elements(&self.dims)
    }

    pub(crate) fn ints(&self) -> Option<&[i64]> {
        match &self.value {
            Some(Value::Ints(values)) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn floats(&self) -> Option<&[f32]> {
        match &self.value {
            Some(Value::Floats(values)) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn is_float(&self) -> bool {
        matches!(self.element, DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16)
    }

    pub(crate) fn is_index(&self) -> bool {
        matches!(self.element, DataType::Int32 | DataType::Int64)
    }

    /// An error unless the tensor is of floats.
    pub(crate) fn expect_float(&self) -> Check<&Fact> {
        if self.is_float() { Ok(self) } else { Err(format!("input of {:?}, expected floats", self.element)) }
    }

    /// An error unless the tensor is of integers that can be indices.
    pub(crate) fn expect_index(&self) -> Check<&Fact> {
        if self.is_index() { Ok(self) } else { Err(format!("indices of {:?}, expected integers", self.element)) }
    }

    /// An error unless the rank is in the range.
    pub(crate) fn expect_rank(&self, ranks: std::ops::RangeInclusive<usize>) -> Check<&Fact> {
        if ranks.contains(&self.rank()) {
            return Ok(self);
        }
        let (low, high) = (ranks.start(), ranks.end());
        let wanted = if low == high { format!("{low}") } else { format!("{low} to {high}") };
        Err(format!("tensor of shape {:?}, expected {wanted} axes", self.dims))
    }
}

impl Value {
    pub(crate) fn len(&self) -> usize {
        match self {
            Value::Ints(values) => values.len(),
            Value::Floats(values) => values.len(),
        }
    }

    /// The values at these places; none if one is outside.
    pub(crate) fn pick(&self, places: impl Iterator<Item = usize>) -> Option<Value> {
        fn of<T: Copy>(values: &[T], places: impl Iterator<Item = usize>) -> Option<Vec<T>> {
            places.map(|place| values.get(place).copied()).collect()
        }
        match self {
            Value::Ints(values) => of(values, places).map(Value::Ints),
            Value::Floats(values) => of(values, places).map(Value::Floats),
        }
    }
}

/// Number of elements of a shape; an error if it is no number of this machine.
pub(crate) fn elements(dims: &[usize]) -> Check<usize> {
    let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    product.filter(|&n| n <= isize::MAX as usize / 8).ok_or_else(|| format!("shape {dims:?} has too many elements"))
}

/// A size out of a file: at least 0.
pub(crate) fn size(value: i64) -> Check<usize> {
    usize::try_from(value).map_err(|_| format!("a size of {value}"))
}

/// The shape that two shapes have after broadcasting.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Check<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let joined = (0..rank).map(|i| match (dim(a, i), dim(b, i)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    });
    joined.collect::<Option<Vec<_>>>().ok_or_else(|| format!("shapes {a:?} and {b:?} do not broadcast"))
}

/// An error unless `b` broadcasts to `a` without changing it.
pub(crate) fn broadcasts_to(a: &[usize], b: &[usize]) -> Check<()> {
    if broadcast(a, b)? == a { Ok(()) } else { Err(format!("shape {b:?} does not broadcast to {a:?}")) }
}
