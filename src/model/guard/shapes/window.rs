//! Shape rules of convolutions and poolings: output = (input + padding - kernel) / stride + 1, without wrapping.

use tract_onnx::pb::tensor_proto::DataType;

use super::super::node::Node;
use crate::model::fact::{Check, Fact, elements, size};

/// A kernel, stride, dilation or padding above this is no image's.
const LARGEST: i64 = 1 << 20;

/// The geometry of a window along every spatial axis.
struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    auto: Auto,
}

#[derive(Clone, Copy, PartialEq)]
enum Auto {
    Explicit,
    Same,
    Valid,
}

impl Window {
    fn read(node: &Node<'_>, kernel: Vec<usize>) -> Check<Window> {
        let rank = kernel.len();
        let auto = match node.one_of("auto_pad", "NOTSET", &["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])? {
            "NOTSET" => Auto::Explicit,
            "VALID" => Auto::Valid,
            _ => Auto::Same,
        };
        let pads = list(node, "pads", 2 * rank, 0, 0)?;
        if auto != Auto::Explicit && pads.iter().any(|&pad| pad != 0) {
            return Err("pads beside auto_pad".into());
        }
        Ok(Window {
            strides: list(node, "strides", rank, 1, 1)?,
            dilations: list(node, "dilations", rank, 1, 1)?,
            before: pads[..rank].to_vec(),
            after: pads[rank..].to_vec(),
            kernel,
            auto,
        })
    }

    /// How many inputs the window spans along an axis.
    fn span(&self, i: usize) -> Check<usize> {
        (self.kernel[i] - 1)
            .checked_mul(self.dilations[i])
            .and_then(|span| span.checked_add(1))
            .ok_or_else(|| "the kernel is too large".to_string())
    }

    /// Sizes of the output along the spatial axes.
    fn outputs(&self, inputs: &[usize], ceil: bool) -> Check<Vec<usize>> {
        let mut sizes = vec![];
        for (i, &input) in inputs.iter().enumerate() {
            let (span, stride) = (self.span(i)?, self.strides[i]);
            if self.auto == Auto::Same {
                sizes.push(input.div_ceil(stride));
                continue;
            }
            let padded = input + self.before[i] + self.after[i];
            let room = padded
                .checked_sub(span)
                .ok_or_else(|| format!("a kernel that spans {span} does not fit into {padded} of axis {}", i + 2))?;
            let mut output = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
            // The last window has to begin on the input or on the padding before it.
            if ceil && (output - 1) * stride >= input + self.before[i] {
                output -= 1;
            }
            sizes.push(output);
        }
        Ok(sizes)
    }

    /// Elements of the padded input, which some kernels make a copy of.
    fn check_padded(&self, node: &Node<'_>, dims: &[usize]) -> Check<()> {
        let mut padded = dims.to_vec();
        for i in 0..self.kernel.len() {
            padded[i + 2] += match self.auto {
                Auto::Same => self.span(i)?,
                _ => self.before[i] + self.after[i],
            };
        }
        let count = elements(&padded)?;
        match count <= node.limits.tensor_elements.saturating_mul(dims[0].max(1)) {
            true => Ok(()),
            false => Err(format!("its padded input has {count} elements")),
        }
    }
}

/// A list attribute of `count` numbers, each at least `least`.
fn list(node: &Node<'_>, name: &str, count: usize, least: i64, default: usize) -> Check<Vec<usize>> {
    let Some(values) = node.ints(name)? else { return Ok(vec![default; count]) };
    if values.len() != count {
        return Err(format!("{name} has {} numbers, expected {count}", values.len()));
    }
    if let Some(value) = values.iter().find(|&&value| value < least || value > LARGEST) {
        return Err(format!("{name} holds {value}"));
    }
    values.iter().map(|&value| size(value)).collect()
}

fn kernel_of(node: &Node<'_>, spatial: &[usize]) -> Check<Vec<usize>> {
    let kernel = list(node, "kernel_shape", spatial.len(), 1, 0)?;
    match node.has("kernel_shape") {
        true => Ok(kernel),
        false => Err("kernel_shape is missing".into()),
    }
}

/// `Conv`, `ConvInteger`: (N, C, spatial) by (M, C / groups, kernel).
pub(in super::super) fn convolution(node: &Node<'_>) -> Check<Vec<Fact>> {
    let integer = node.proto.op_type == "ConvInteger";
    let (x, w) = (node.input(0)?.expect_rank(3..=5)?, node.input(1)?);
    w.expect_rank(x.rank()..=x.rank())?;
    if !integer {
        x.expect_float()?;
        w.expect_float()?;
    }
    let groups = size(node.int("group", 1)?)?;
    let (channels, outputs) = (x.dims[1], w.dims[0]);
    if groups == 0 || channels != w.dims[1].saturating_mul(groups) || !outputs.is_multiple_of(groups) {
        return Err(format!("weights {:?} in {groups} groups do not fit to input {:?}", w.dims, x.dims));
    }
    if w.dims.contains(&0) {
        return Err(format!("weights of shape {:?}", w.dims));
    }
    if let Some(kernel) = node.ints("kernel_shape")?
        && !kernel.iter().map(|&k| k as usize).eq(w.dims[2..].iter().copied())
    {
        return Err(format!("kernel_shape is {kernel:?}, the weights have {:?}", &w.dims[2..]));
    }
    if !integer && let Some(bias) = node.optional(2) {
        expect_vector(bias, outputs, "bias")?;
    }
    let window = Window::read(node, w.dims[2..].to_vec())?;
    window.check_padded(node, &x.dims)?;
    let mut dims = vec![x.dims[0], outputs];
    dims.extend(window.outputs(&x.dims[2..], false)?);
    node.charge((elements(&dims)? as u64).saturating_mul(elements(&w.dims[1..])? as u64));
    let element = if integer { DataType::Int32 } else { x.element };
    Ok(vec![Fact::new(element, dims)])
}

/// `ConvTranspose`: (N, C, spatial) by (C, M / groups, kernel).
pub(in super::super) fn transposed(node: &Node<'_>) -> Check<Vec<Fact>> {
    let (x, w) = (node.input(0)?.expect_float()?.expect_rank(3..=5)?, node.input(1)?.expect_float()?);
    w.expect_rank(x.rank()..=x.rank())?;
    let groups = size(node.int("group", 1)?)?;
    if groups == 0 || w.dims.contains(&0) || x.dims[1] != w.dims[0] || !x.dims[1].is_multiple_of(groups) {
        return Err(format!("weights {:?} in {groups} groups do not fit to input {:?}", w.dims, x.dims));
    }
    if node.has("output_shape") {
        return Err("attribute output_shape".into());
    }
    let outputs = w.dims[1].saturating_mul(groups);
    if let Some(bias) = node.optional(2) {
        expect_vector(bias, outputs, "bias")?;
    }
    let window = Window::read(node, w.dims[2..].to_vec())?;
    let extra = list(node, "output_padding", window.kernel.len(), 0, 0)?;
    let mut dims = vec![x.dims[0], outputs];
    for (i, &input) in x.dims[2..].iter().enumerate() {
        let (stride, span) = (window.strides[i], window.span(i)?);
        let full = input.checked_sub(1).and_then(|n| n.checked_mul(stride)).map(|n| n + span + extra[i]);
        let out = match window.auto {
            Auto::Same => input.checked_mul(stride),
            _ => full.and_then(|full| full.checked_sub(window.before[i] + window.after[i])),
        };
        let out = out.filter(|&n| n > 0);
        dims.push(out.ok_or_else(|| format!("nothing is left of axis {}", i + 2))?);
    }
    node.charge((elements(&dims)? as u64).saturating_mul(elements(&w.dims)? as u64));
    Ok(vec![Fact::new(x.element, dims)])
}

/// `MaxPool` (with or without indices) and `AveragePool`.
pub(in super::super) fn pool(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_rank(3..=5)?;
    if node.proto.op_type == "AveragePool" {
        x.expect_float()?;
        node.flag("count_include_pad", false)?;
    }
    node.int("storage_order", 0)?;
    let window = Window::read(node, kernel_of(node, &x.dims[2..])?)?;
    for i in 0..window.kernel.len() {
        let span = window.span(i)?;
        if window.before[i].max(window.after[i]) >= span {
            return Err(format!("padding of {:?} and {:?} at a kernel of {span}", window.before[i], window.after[i]));
        }
    }
    window.check_padded(node, &x.dims)?;
    let ceil = node.flag("ceil_mode", false)?;
    let mut dims = x.dims[..2].to_vec();
    dims.extend(window.outputs(&x.dims[2..], ceil)?);
    if ceil && node.flag("count_include_pad", false)? {
        // Implementations differ in what such a window is divided by.
        for (i, &output) in dims[2..].iter().enumerate() {
            let end = (output - 1) * window.strides[i] + window.span(i)?;
            if end > x.dims[i + 2] + window.before[i] + window.after[i] {
                return Err("ceil_mode with count_include_pad and a window that reaches past the padding".into());
            }
        }
    }
    node.charge((elements(&dims)? as u64).saturating_mul(elements(&window.kernel)? as u64));
    let mut facts = vec![Fact::new(x.element, dims.clone())];
    if node.proto.op_type == "MaxPool" && node.proto.output.len() > 1 {
        facts.push(Fact::new(DataType::Int64, dims));
    }
    Ok(facts)
}

/// `GlobalAveragePool` and its kin: spatial axes become 1.
pub(in super::super) fn global_pool(node: &Node<'_>) -> Check<Vec<Fact>> {
    let x = node.input(0)?.expect_float()?.expect_rank(3..=5)?;
    let mut dims = x.dims.clone();
    dims[2..].fill(1);
    Ok(vec![Fact::new(x.element, dims)])
}

/// An error unless the tensor is a vector of that length.
pub(super) fn expect_vector(fact: &Fact, len: usize, name: &str) -> Check<()> {
    match fact.dims[..] == [len] {
        true => Ok(()),
        false => Err(format!("{name} of shape {:?}, expected [{len}]", fact.dims)),
    }
}
