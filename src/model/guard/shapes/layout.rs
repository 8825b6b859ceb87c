//! Shape rules of operators that move elements without changing them.

use super::super::node::{Node, axes, axis};
use crate::model::fact::{Check, Fact, Value, elements, size};

/// `Reshape`: 0 keeps an axis, -1 takes what is left.
pub(in super::super) fn reshape(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let wanted = match node.optional(1) {
        Some(fact) => {
            fact.expect_index()?.expect_rank(1..=1)?;
            node.known_ints(1)?
        }
        None => node.ints("shape")?.ok_or("the shape is missing")?,
    };
    let zeros = node.flag("allowzero", false)?;
    let mut dims = vec![];
    let mut open = None;
    for (i, &value) in wanted.iter().enumerate() {
        dims.push(match value {
            0 if !zeros => *x.dims.get(i).ok_or_else(|| format!("shape {wanted:?} of {:?}", x.dims))?,
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            value => size(value)?,
        });
    }
    let (count, rest) = (x.len()?, elements(&dims)?);
    if let Some(i) = open
        && rest > 0
        && count.is_multiple_of(rest)
    {
        dims[i] = count / rest;
    }
    if elements(&dims)? != count {
        return Err(format!("shape {:?} does not become {wanted:?}", x.dims));
    }
    Ok(vec![moved(x, dims)])
}

/// The same elements in the same order, of another shape.
fn moved(x: &Fact, dims: Vec<usize>) -> Fact {
    Fact { dims, ..x.clone() }
}

/// `Flatten` into a matrix.
pub(in super::super) fn flatten(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let (value, rank) = (node.int("axis", 1)?, x.rank() as i64);
    if !(-rank..=rank).contains(&value) {
        return Err(format!("axis {value} of a tensor with {rank} axes"));
    }
    let cut = if value < 0 { value + rank } else { value } as usize;
    Ok(vec![moved(x, vec![elements(&x.dims[..cut])?, elements(&x.dims[cut..])?])])
}

/// Axes of an attribute, or in newer files of an input.
fn given_axes<'a>(node: &'a Node<'_>) -> Check<Option<&'a [i64]>> {
    match node.optional(1) {
        Some(fact) => {
            fact.expect_index()?.expect_rank(0..=1)?;
            node.known_ints(1).map(Some)
        }
        None => node.ints("axes"),
    }
}

/// `Squeeze`: axes of 1 are left out.
pub(in super::super) fn squeeze(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let gone = match given_axes(node)? {
        Some(values) => axes(values, x.rank())?,
        None => (0..x.rank()).filter(|&i| x.dims[i] == 1).collect(),
    };
    if let Some(&i) = gone.iter().find(|&&i| x.dims[i] != 1) {
        return Err(format!("axis {i} of {:?} is not 1", x.dims));
    }
    let dims = x.dims.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, &dim)| dim).collect();
    Ok(vec![moved(x, dims)])
}

/// `Unsqueeze`: axes of 1 are put in.
pub(in super::super) fn unsqueeze(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let values = given_axes(node)?.ok_or("the axes are missing")?;
    let rank = x.rank() + values.len().min(16);
    let new = axes(values, rank)?;
    let mut old = x.dims.iter();
    let dims = (0..rank).map(|i| if new.contains(&i) { Some(1) } else { old.next().copied() });
    Ok(vec![moved(x, dims.collect::<Option<_>>().ok_or("the axes do not fit")?)])
}

/// `Transpose`; without a permutation the axes are turned round.
pub(in super::super) fn transpose(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let order: Vec<usize> = match node.ints("perm")? {
        Some(perm) => {
            if perm.len() != x.rank() || axes(perm, x.rank())?.len() != x.rank() || perm.iter().any(|&p| p < 0) {
                return Err(format!("perm {perm:?} of {} axes", x.rank()));
            }
            perm.iter().map(|&p| p as usize).collect()
        }
        None => (0..x.rank()).rev().collect(),
    };
    let dims: Vec<usize> = order.iter().map(|&i| x.dims[i]).collect();
    let keeps = x.rank() <= 1;
    let value = x.value.clone().filter(|_| keeps);
    Ok(vec![Fact::new(x.element, dims).with_value(value)])
}

/// `Expand` to a shape that both broadcast to.
pub(in super::super) fn expand(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    node.input(1)?.expect_index()?.expect_rank(1..=1)?;
    let wanted = node.known_ints(1)?.iter().map(|&v| size(v)).collect::<Check<Vec<_>>>()?;
    let dims = crate::model::fact::broadcast(&x.dims, &wanted)?;
    let value = super::small::spread(x, &dims);
    Ok(vec![Fact::new(x.element, dims).with_value(value)])
}

/// `Tile`: every axis so many times.
pub(in super::super) fn tile(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let times = node.known_ints(1)?;
    if times.len() != x.rank() {
        return Err(format!("repeats {times:?} of {} axes", x.rank()));
    }
    let dims = x.dims.iter().zip(times).map(|(&dim, &n)| dim.checked_mul(usize::try_from(n).ok()?));
    Ok(vec![Fact::new(x.element, dims.collect::<Option<_>>().ok_or_else(|| format!("repeats {times:?}"))?)])
}

/// `Concat` along one axis.
pub(in super::super) fn concat(node: &Node<'_>) -> Check<Vec<Fact>> {
    let first = node.input(0)?.expect_rank(1..=8)?;
    if !node.has("axis") {
        return Err("attribute axis is missing".into());
    }
    let at = node.axis("axis", 0, first.rank())?;
    let mut dims = first.dims.clone();
    dims[at] = 0;
    for index in 0..node.inputs.len() {
        let next = node.input(index)?;
        let same = |i: usize| i == at || next.dims[i] == first.dims[i];
        if next.element != first.element || next.rank() != first.rank() || !(0..dims.len()).all(same) {
            return Err(format!(
                "{:?} {:?} and {:?} {:?} along axis {at}",
                first.element, first.dims, next.element, next.dims
            ));
        }
        dims[at] = dims[at].checked_add(next.dims[at]).ok_or("too many elements")?;
    }
    let value = if dims.len() == 1 { joined(node) } else { None };
    Ok(vec![Fact::new(first.element, dims).with_value(value)])
}

fn joined(node: &Node<'_>) -> Option<Value> {
    let ints = node.inputs.iter().map(|fact| fact.as_ref()?.ints()).collect::<Option<Vec<_>>>();
    let floats = || node.inputs.iter().map(|fact| fact.as_ref()?.floats()).collect::<Option<Vec<_>>>();
    ints.map(|all| Value::Ints(all.concat())).or_else(|| floats().map(|all| Value::Floats(all.concat())))
}

/// `Split` along one axis, into parts of given sizes or equal ones.
pub(in super::super) fn split(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let at = node.axis("axis", 0, x.rank())?;
    let outputs = node.proto.output.len();
    let given = match node.optional(1) {
        Some(_) => Some(node.known_ints(1)?),
        None => node.ints("split")?,
    };
    let sizes = match given {
        Some(values) => values.iter().map(|&v| size(v)).collect::<Check<Vec<_>>>()?,
        None => {
            let part = x.dims[at].div_ceil(outputs.max(1));
            let left = (0..outputs).map(|k| x.dims[at].saturating_sub(k * part).min(part));
            left.collect()
        }
    };
    let sum = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
    if sizes.len() != outputs || sum != Some(x.dims[at]) || sizes.contains(&0) {
        return Err(format!("parts of {sizes:?} out of {} for {outputs} outputs", x.dims[at]));
    }
    let mut start = 0;
    let facts = sizes.into_iter().map(|n| {
        let mut dims = x.dims.clone();
        dims[at] = n;
        let value = x.value.as_ref().filter(|_| x.rank() == 1).and_then(|v| v.pick(start..start + n));
        start += n;
        Fact::new(x.element, dims).with_value(value)
    });
    Ok(facts.collect())
}

/// `Slice`: bounds as attributes, or in newer files as inputs.
pub(in super::super) fn slice(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(1..=8)?;
    let (starts, ends, along, steps);
    if node.optional(1).is_some() {
        (starts, ends) = (node.known_ints(1)?, node.known_ints(2)?);
        along = node.optional(3).map(|_| node.known_ints(3)).transpose()?;
        steps = node.optional(4).map(|_| node.known_ints(4)).transpose()?;
    } else {
        starts = node.ints("starts")?.ok_or("starts are missing")?;
        ends = node.ints("ends")?.ok_or("ends are missing")?;
        along = node.ints("axes")?;
        steps = None;
    }
    let all: Vec<i64> = (0..starts.len() as i64).collect();
    let along = along.unwrap_or(&all);
    let ones = vec![1; starts.len()];
    let steps = steps.unwrap_or(&ones);
    if ends.len() != starts.len() || along.len() != starts.len() || steps.len() != starts.len() {
        return Err("starts, ends, axes and steps of different lengths".into());
    }
    axes(along, x.rank())?;
    let mut dims = x.dims.clone();
    let mut picked = None;
    for (((&start, &end), &at), &step) in starts.iter().zip(ends).zip(along).zip(steps) {
        let at = axis(at, x.rank())?;
        let dim = x.dims[at] as i64;
        let wrap = |v: i64| if v < 0 { v.saturating_add(dim) } else { v };
        let (from, to) = match step {
            _ if dim == 0 => (0, 0),
            1.. => (wrap(start).clamp(0, dim), wrap(end).clamp(0, dim)),
            ..=-1 if step > i64::MIN => (wrap(start).clamp(0, dim - 1), wrap(end).clamp(-1, dim - 1)),
            _ => return Err(format!("a step of {step}")),
        };
        let length = if step > 0 { to - from } else { from - to };
        let count = if length <= 0 { 0 } else { (length as u64).div_ceil(step.unsigned_abs()) as usize };
        dims[at] = count;
        if x.rank() == 1 {
            picked = x.value.as_ref().and_then(|v| v.pick((0..count as i64).map(|k| (from + k * step) as usize)));
        }
    }
    let value = if starts.is_empty() { x.value.clone() } else { picked };
    Ok(vec![Fact::new(x.element, dims).with_value(value)])
}

/// `Pad`: amounts before and after every axis, as attribute or input.
pub(in super::super) fn pad(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?;
    let mode = node.one_of("mode", "constant", &["constant", "reflect", "edge"])?;
    let pads = match node.optional(1) {
        Some(_) => node.known_ints(1)?,
        None => node.ints("pads")?.or(node.ints("paddings")?).ok_or("pads are missing")?,
    };
    let along: Vec<usize> = match node.optional(3) {
        Some(_) => node.known_ints(3)?.iter().map(|&v| axis(v, x.rank())).collect::<Check<_>>()?,
        None => (0..x.rank()).collect(),
    };
    if pads.len() != 2 * along.len() {
        return Err(format!("{} pads for {} axes", pads.len(), along.len()));
    }
    if let Some(value) = node.optional(2)
        && (value.element != x.element || value.len()? != 1)
    {
        return Err(format!("a value of {:?} {:?}", value.element, value.dims));
    }
    let mut dims = x.dims.clone();
    for (k, &at) in along.iter().enumerate() {
        let (before, after) = (pads[k], pads[along.len() + k]);
        let dim = x.dims[at] as i64;
        if before.min(after) < 0 {
            return Err(format!("pads of {before} and {after}, which cut off: use Slice"));
        }
        if mode != "constant" && before.max(after) >= dim {
            return Err(format!("{mode} pads of {before} and {after} at {dim}"));
        }
        let sum = before.checked_add(after).and_then(|n| n.checked_add(dim)).filter(|&n| n > 0);
        dims[at] = size(sum.ok_or_else(|| format!("pads of {before} and {after} at {dim}"))?)?;
    }
    Ok(vec![Fact::new(x.element, dims)])
}

/// `DepthToSpace`, `SpaceToDepth` in blocks.
pub(in super::super) fn blocks(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(4..=4)?;
    let block = size(node.int("blocksize", 0)?)?;
    let square = block.checked_mul(block).filter(|&n| n > 0).ok_or("blocksize is 0")?;
    let [n, c, h, w] = [x.dims[0], x.dims[1], x.dims[2], x.dims[3]];
    let dims = if node.proto.op_type == "DepthToSpace" {
        node.one_of("mode", "DCR", &["DCR", "CRD"])?;
        if !c.is_multiple_of(square) {
            return Err(format!("{c} channels in blocks of {square}"));
        }
        vec![n, c / square, h * block, w * block]
    } else {
        if !h.is_multiple_of(block) || !w.is_multiple_of(block) {
            return Err(format!("{h} x {w} pixels in blocks of {block}"));
        }
        vec![n, c * square, h / block, w / block]
    };
    Ok(vec![Fact::new(x.element, dims)])
}
