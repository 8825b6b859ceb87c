//! Shape rules of operators that pick or write elements by index.

use super::super::node::Node;
use crate::model::fact::{Check, Fact, size};

/// Indices that are known have to be in [-dim, dim).
fn check_indices(indices: &Fact, dim: usize) -> Check<()> {
    let dim = dim as i64;
    match indices.ints().and_then(|values| values.iter().find(|&&v| !(-dim..dim).contains(&v))) {
        Some(value) => Err(format!("index {value} of {dim}")),
        None => Ok(()),
    }
}

/// `Gather` of slices along one axis.
pub(in super::super) fn gather(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let indices = node.input(1)?.expect_index()?;
    let at = node.axis("axis", 0, x.rank())?;
    check_indices(indices, x.dims[at])?;
    let dims = [&x.dims[..at], &indices.dims, &x.dims[at + 1..]].concat();
    let dim = x.dims[at] as i64;
    let value = match (&x.value, indices.ints(), x.rank()) {
        (Some(value), Some(picks), 1) => value.pick(picks.iter().map(|&v| v.rem_euclid(dim.max(1)) as usize)),
        _ => None,
    };
    Ok(vec![Fact::new(x.element, dims).with_value(value)])
}

/// `GatherElements`: as the indices.
pub(in super::super) fn gather_elements(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let indices = node.input(1)?.expect_index()?.expect_rank(x.rank()..=x.rank())?;
    let at = node.axis("axis", 0, x.rank())?;
    let fits = |i: usize| i == at || indices.dims[i] <= x.dims[i];
    if !(0..x.rank()).all(fits) {
        return Err(format!("indices {:?} of {:?}", indices.dims, x.dims));
    }
    check_indices(indices, x.dims[at])?;
    Ok(vec![Fact::new(x.element, indices.dims.clone())])
}

/// `GatherND`: the last axis of the indices is a place.
pub(in super::super) fn gather_nd(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let indices = node.input(1)?.expect_index()?.expect_rank(1..=8)?;
    let batch = size(node.int("batch_dims", 0)?)?;
    let last = indices.rank() - 1;
    let place = indices.dims[last];
    if batch > last || batch > x.rank() || place == 0 || place > x.rank() - batch {
        return Err(format!("indices {:?} of {:?} with batch_dims {batch}", indices.dims, x.dims));
    }
    if x.dims[..batch] != indices.dims[..batch] {
        return Err(format!("indices {:?} of {:?} with batch_dims {batch}", indices.dims, x.dims));
    }
    check_places(indices, place, &x.dims[batch..])?;
    let dims = [&indices.dims[..last], &x.dims[batch + place..]].concat();
    Ok(vec![Fact::new(x.element, dims)])
}

fn check_places(indices: &Fact, place: usize, dims: &[usize]) -> Check<()> {
    let Some(values) = indices.ints() else { return Ok(()) };
    for row in values.chunks_exact(place.max(1)) {
        for (&value, &dim) in row.iter().zip(dims) {
            // tract counts from the front alone.
            if !(0..dim as i64).contains(&value) {
                return Err(format!("index {value} of {dim}"));
            }
        }
    }
    Ok(())
}

/// `ScatterElements`, `Scatter`: as the data.
pub(in super::super) fn scatter_elements(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let indices = node.input(1)?.expect_index()?.expect_rank(x.rank()..=x.rank())?;
    let updates = node.input(2)?;
    let at = node.axis("axis", 0, x.rank())?;
    let fits = |i: usize| i == at || indices.dims[i] <= x.dims[i];
    if updates.dims != indices.dims || updates.element != x.element || !(0..x.rank()).all(fits) {
        return Err(format!("updates {:?} at {:?} of {:?}", updates.dims, indices.dims, x.dims));
    }
    node.one_of("reduction", "none", &["none", "add", "mul", "min", "max"])?;
    check_indices(indices, x.dims[at])?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `ScatterND`: as the data.
pub(in super::super) fn scatter_nd(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let indices = node.input(1)?.expect_index()?.expect_rank(1..=8)?;
    let updates = node.input(2)?;
    let last = indices.rank() - 1;
    let place = indices.dims[last];
    if place == 0 || place > x.rank() {
        return Err(format!("indices {:?} of {:?}", indices.dims, x.dims));
    }
    let wanted = [&indices.dims[..last], &x.dims[place..]].concat();
    if updates.dims != wanted || updates.element != x.element {
        return Err(format!("updates {:?} at {:?} of {:?}", updates.dims, indices.dims, x.dims));
    }
    node.one_of("reduction", "none", &["none", "add", "mul", "min", "max"])?;
    check_places(indices, place, &x.dims)?;
    Ok(vec![Fact::new(x.element, x.dims.clone())])
}

/// `OneHot`: a new axis of `depth`.
pub(in super::super) fn one_hot(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (indices, values) = (node.input(0)?.expect_index()?, node.input(2)?);
    let depth = size(node.known_int(1)?)?;
    if depth == 0 || values.dims != [2] {
        return Err(format!("depth {depth}, values of shape {:?}", values.dims));
    }
    let at = node.axis("axis", -1, indices.rank() + 1)?;
    let mut dims = indices.dims.clone();
    dims.insert(at, depth);
    Ok(vec![Fact::new(values.element, dims)])
}

/// `GridSample` of an image at given places.
pub(in super::super) fn grid_sample(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (x, grid) = (node.input(0)?.expect_float()?, node.input(1)?.expect_float()?);
    x.expect_rank(4..=4)?;
    grid.expect_rank(4..=4)?;
    // tract moves the middle of the sixteen pixels into the image, ONNX each of them.
    if matches!(node.text("mode", "linear")?, "bicubic" | "cubic") && node.text("padding_mode", "zeros")? == "border" {
        return Err("bicubic with the padding border".into());
    }
    if grid.dims[0] != x.dims[0] || grid.dims[3] != 2 {
        return Err(format!("grid {:?} of {:?}", grid.dims, x.dims));
    }
    Ok(vec![Fact::new(x.element, vec![x.dims[0], x.dims[1], grid.dims[1], grid.dims[2]])])
}

/// `Shape` of a tensor: known before the graph runs.
pub(in super::super) fn shape(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let rank = x.rank() as i64;
    let bound = |value: i64| if value < 0 { value.saturating_add(rank) } else { value }.clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)?), bound(node.int("end", rank)?));
    let dims: Vec<i64> = x.dims.get(start..end).unwrap_or_default().iter().map(|&dim| dim as i64).collect();
    Ok(vec![Fact::of_ints(tract_onnx::pb::tensor_proto::DataType::Int64, vec![dims.len()], dims)])
}

/// `Size` of a tensor.
pub(in super::super) fn count(node: &Node<'_>) -> Check<Vec<Fact>> {
    let count = node.input(0)?.len()? as i64;
    Ok(vec![Fact::of_ints(tract_onnx::pb::tensor_proto::DataType::Int64, vec![], vec![count])])
}
