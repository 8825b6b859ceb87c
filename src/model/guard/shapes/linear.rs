//! Shape rules of matrix products.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;

use super::super::node::Node;
use crate::model::fact::{Check, Fact, broadcast, broadcasts_to, elements};

/// `MatMul`, `MatMulInteger`: numpy's rules.
pub(in super::super) fn product(node: &Node<'_>) -> Check<Vec<Fact>> {
    let integer = node.proto.op_type == "MatMulInteger";
    let (a, b) = (node.input(0)?.expect_rank(1..=8)?, node.input(1)?.expect_rank(1..=8)?);
    if !integer && a.element != b.element {
        return Err(format!("inputs of {:?} and {:?}", a.element, b.element));
    }
    let (vector_a, vector_b) = (a.rank() == 1, b.rank() == 1);
    let left = if vector_a { [vec![1], a.dims.clone()].concat() } else { a.dims.clone() };
    let right = if vector_b { [b.dims.clone(), vec![1]].concat() } else { b.dims.clone() };
    let (l, r) = (left.len() - 2, right.len() - 2);
    if left[l + 1] != right[r] {
        return Err(format!("shapes {:?} and {:?} do not multiply", a.dims, b.dims));
    }
    let mut dims = broadcast(&left[..l], &right[..r])?;
    if !vector_a {
        dims.push(left[l]);
    }
    if !vector_b {
        dims.push(right[r + 1]);
    }
    node.charge((elements(&dims)? as u64).saturating_mul(left[l + 1] as u64));
    Ok(vec![Fact::new(if integer { DataType::Int32 } else { a.element }, dims)])
}

/// `Gemm`: two matrices, and a third that broadcasts to the result.
pub(in super::super) fn gemm(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (a, b) = (node.input(0)?.expect_float()?, node.input(1)?.expect_float()?);
    a.expect_rank(2..=2)?;
    b.expect_rank(2..=2)?;
    let turned = |fact: &Fact, turn| if turn { (fact.dims[1], fact.dims[0]) } else { (fact.dims[0], fact.dims[1]) };
    let (m, k) = turned(a, node.flag("transA", false)?);
    let (inner, n) = turned(b, node.flag("transB", false)?);
    if k != inner {
        return Err(format!("shapes {:?} and {:?} do not multiply", a.dims, b.dims));
    }
    if let Some(c) = node.optional(2) {
        broadcasts_to(&[m, n], &c.expect_float()?.dims)?;
    }
    node.float("alpha", 1.0)?;
    node.float("beta", 1.0)?;
    node.charge((elements(&[m, n])? as u64).saturating_mul(k as u64));
    Ok(vec![Fact::new(a.element, vec![m, n])])
}

/// Letters for the axes of an ellipsis.
const ELLIPSIS: &str = "01234567";

/// `Einsum` without an ellipsis.
pub(in super::super) fn einsum(node: &Node<'_>) -> Check<Vec<Fact>> {
    let equation: String = node.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (terms, output) = match equation.split_once("->") {
        Some((terms, output)) => (terms, Some(output)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = terms.split(',').collect();
    if terms.len() != node.inputs.len() || terms.len() > 8 {
        return Err(format!("equation {equation:?} for {} inputs", node.inputs.len()));
    }
    // An ellipsis stands for the axes that a term's letters leave: letters of their own, as no equation has them.
    let mut hidden: Option<usize> = None;
    let mut expand = |term: &str, rank: Option<usize>| -> Check<String> {
        let Some((before, after)) = term.split_once("...") else { return Ok(term.to_string()) };
        let axes = match (rank, hidden) {
            (Some(rank), _) => rank.checked_sub(before.len() + after.len()),
            (None, known) => Some(known.unwrap_or(0)),
        };
        let axes = axes.ok_or_else(|| format!("term {term:?} for {} axes", rank.unwrap_or_default()))?;
        if *hidden.get_or_insert(axes) != axes {
            return Err(format!(
                "equation {equation:?}: its ellipses stand for {} and {axes} axes",
                hidden.unwrap_or(0)
            ));
        }
        Ok(format!("{before}{}{after}", &ELLIPSIS[..axes.min(ELLIPSIS.len())]))
    };
    if equation.contains("...") && output.is_none() {
        return Err(format!("equation {equation:?} has an ellipsis and no output"));
    }
    let mut sizes: HashMap<char, usize> = HashMap::new();
    let mut seen: Vec<(char, usize)> = vec![];
    for (index, term) in terms.iter().enumerate() {
        let fact = node.input(index)?.expect_float()?.expect_rank(0..=8)?;
        if !term.replacen("...", "", 1).chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(format!("term {term:?} for shape {:?}", fact.dims));
        }
        let term = expand(term, Some(fact.rank()))?;
        if term.len() != fact.rank() {
            return Err(format!("term {term:?} for shape {:?}", fact.dims));
        }
        for (letter, &dim) in term.chars().zip(&fact.dims) {
            let known = sizes.entry(letter).or_insert(dim);
            if *known == 1 {
                *known = dim;
            }
            if dim != *known && dim != 1 {
                return Err(format!("axis {letter} is {known} and {dim}"));
            }
            match seen.iter_mut().find(|(c, _)| *c == letter) {
                Some((_, count)) => *count += 1,
                None => seen.push((letter, 1)),
            }
        }
    }
    seen.sort_unstable();
    let implied = || seen.iter().filter(|(_, count)| *count == 1).map(|(letter, _)| *letter).collect();
    let output: String = match output {
        Some(output) if !output.replacen("...", "", 1).chars().all(|c| c.is_ascii_alphabetic()) => {
            return Err(format!("equation {equation:?}"));
        }
        Some(output) => expand(output, None)?,
        None => implied(),
    };
    let size = |c: char| sizes.get(&c).copied().ok_or_else(|| format!("axis {c} is in no term"));
    let dims = output.chars().map(size).collect::<Check<Vec<_>>>()?;
    let all: Vec<usize> = sizes.values().copied().collect();
    node.charge(elements(&all)? as u64);
    Ok(vec![Fact::new(node.input(0)?.element, dims)])
}

/// `LSTM`, `GRU`, `RNN`: (time, batch, input) to (time, directions, batch, hidden).
pub(in super::super) fn recurrent(node: &Node<'_>) -> Check<Vec<Fact>> {
    let gates = match node.proto.op_type.as_str() {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let (x, w, r) = (node.input(0)?.expect_float()?, node.input(1)?, node.input(2)?);
    x.expect_rank(3..=3)?;
    w.expect_rank(3..=3)?;
    r.expect_rank(3..=3)?;
    // tract reads no more than these two: it would run backwards for neither, and with other activations as with its own.
    let directions = match node.one_of("direction", "forward", &["forward", "bidirectional"])? {
        "bidirectional" => 2,
        _ => 1,
    };
    let usual: &[&str] = match node.proto.op_type.as_str() {
        "LSTM" => &["Sigmoid", "Tanh", "Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        _ => &["Tanh"],
    };
    if node.texts("activations")?.is_some_and(|texts| texts != usual.repeat(directions)) {
        return Err(format!("activations other than {}", usual.join(", ")));
    }
    if node.has("clip") || node.int("input_forget", 0)? != 0 {
        return Err("clip or input_forget".into());
    }
    let hidden = r.dims[2];
    let wanted = hidden.checked_mul(gates).filter(|&n| n > 0).ok_or("no hidden units")?;
    if node.int("layout", 0)? != 0 || x.dims.contains(&0) {
        return Err("a batch before time".into());
    }
    if w.dims != [directions, wanted, x.dims[2]] || r.dims != [directions, wanted, hidden] {
        return Err(format!("weights {:?} and {:?} for input {:?}", w.dims, r.dims, x.dims));
    }
    if node.int("hidden_size", hidden as i64)? != hidden as i64 {
        return Err("hidden_size is not that of the weights".into());
    }
    if let Some(bias) = node.optional(3)
        && bias.dims != [directions, 2 * wanted]
    {
        return Err(format!("bias of shape {:?}", bias.dims));
    }
    for state in [5, 6].into_iter().filter_map(|index| node.optional(index)) {
        if state.dims != [directions, x.dims[1], hidden] {
            return Err(format!("a state of shape {:?}", state.dims));
        }
    }
    if [4, 7].into_iter().any(|index| node.optional(index).is_some()) {
        return Err("sequence lengths or peepholes".into());
    }
    node.charge((elements(&[x.dims[0], x.dims[1], wanted])? as u64).saturating_mul((x.dims[2] + hidden) as u64));
    let all = Fact::new(x.element, vec![x.dims[0], directions, x.dims[1], hidden]);
    let last = Fact::new(x.element, vec![directions, x.dims[1], hidden]);
    Ok(vec![all, last.clone(), last].into_iter().take(node.proto.output.len()).collect())
}
