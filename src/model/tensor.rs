//! Tensors as the file holds them: checked against their own length, and read as numbers.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

use super::fact::{Check, FOLLOWED, Fact, Value, elements};

/// The element type of a tensor.
pub(super) fn element(tensor: &TensorProto) -> Check<DataType> {
    DataType::try_from(tensor.data_type).map_err(|_| format!("element type {} is not known", tensor.data_type))
}

/// Bytes of one element in `raw_data`; none for texts and types narrower than a byte.
fn width(element: DataType) -> Option<usize> {
    use DataType as T;
    Some(match element {
        T::Bool | T::Int8 | T::Uint8 => 1,
        T::Int16 | T::Uint16 | T::Float16 | T::Bfloat16 => 2,
        T::Float | T::Int32 | T::Uint32 => 4,
        T::Double | T::Int64 | T::Uint64 => 8,
        _ => return None,
    })
}

/// The shape; an error if it is no shape, or if the data are not of its length.
pub(super) fn dims(tensor: &TensorProto) -> Check<Vec<usize>> {
    let size = |&dim: &i64| usize::try_from(dim).map_err(|_| format!("it has a negative dimension, {dim}"));
    let dims = tensor.dims.iter().map(size).collect::<Check<Vec<_>>>()?;
    if dims.len() > 16 {
        return Err(format!("it has {} axes", dims.len()));
    }
    let count = elements(&dims)?;
    if tensor.data_location == Some(DataLocation::External as i32) {
        return Err("its data lie in another file".into());
    }
    let kind = element(tensor)?;
    let width = width(kind).ok_or_else(|| format!("it is of {kind:?}, which is not supported"))?;
    let (held, unit) = if tensor.raw_data.is_empty() {
        let held = match kind {
            DataType::Float => tensor.float_data.len(),
            DataType::Double => tensor.double_data.len(),
            DataType::Int64 => tensor.int64_data.len(),
            DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.len(),
            _ => tensor.int32_data.len(),
        };
        (held, 1)
    } else {
        (tensor.raw_data.len(), width)
    };
    if count.checked_mul(unit) != Some(held) {
        return Err(format!("shape {dims:?} of {kind:?} has {count} elements, its data are {held} (of {unit} bytes)"));
    }
    Ok(dims)
}

/// What is known of a tensor of the file, with its values if they are few.
pub(super) fn fact(tensor: &TensorProto) -> Check<Fact> {
    let dims = dims(tensor)?;
    let element = element(tensor)?;
    let few = elements(&dims)? <= FOLLOWED;
    let value = match element {
        _ if !few => None,
        DataType::Float | DataType::Float16 | DataType::Double | DataType::Bfloat16 => {
            floats(tensor).ok().map(Value::Floats)
        }
        _ => ints(tensor).ok().map(Value::Ints),
    };
    Ok(Fact { constant: true, ..Fact::new(element, dims).with_value(value) })
}

fn raw<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
}

/// The values of a tensor of floats, or of integers, as floats.
pub(super) fn floats(tensor: &TensorProto) -> Check<Vec<f32>> {
    dims(tensor)?;
    let (bytes, kind) = (&tensor.raw_data, element(tensor)?);
    let packed = bytes.is_empty();
    Ok(match kind {
        DataType::Float if packed => tensor.float_data.clone(),
        DataType::Float => raw(bytes, f32::from_le_bytes),
        DataType::Double if packed => tensor.double_data.iter().map(|&v| v as f32).collect(),
        DataType::Double => raw(bytes, |b| f64::from_le_bytes(b) as f32),
        DataType::Float16 if packed => tensor.int32_data.iter().map(|&v| half(v as u16)).collect(),
        DataType::Float16 => raw(bytes, |b| half(u16::from_le_bytes(b))),
        DataType::Bfloat16 if packed => tensor.int32_data.iter().map(|&v| f32::from_bits((v as u32) << 16)).collect(),
        DataType::Bfloat16 => raw(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        _ => ints(tensor)?.into_iter().map(|v| v as f32).collect(),
    })
}

/// The values of a tensor of integers or booleans.
pub(super) fn ints(tensor: &TensorProto) -> Check<Vec<i64>> {
    dims(tensor)?;
    let bytes = &tensor.raw_data;
    let kind = element(tensor)?;
    if bytes.is_empty() {
        return Ok(match kind {
            DataType::Int64 => tensor.int64_data.clone(),
            DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.iter().map(|&v| v as i64).collect(),
            DataType::Bool => tensor.int32_data.iter().map(|&v| i64::from(v != 0)).collect(),
            DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16 | DataType::String => {
                return Err(format!("it is of {kind:?}, expected integers"));
            }
            _ => tensor.int32_data.iter().map(|&v| i64::from(v)).collect(),
        });
    }
    Ok(match kind {
        DataType::Bool => bytes.iter().map(|&b| i64::from(b != 0)).collect(),
        DataType::Uint8 => bytes.iter().map(|&b| i64::from(b)).collect(),
        DataType::Int8 => bytes.iter().map(|&b| i64::from(b as i8)).collect(),
        DataType::Uint16 => raw(bytes, |b| i64::from(u16::from_le_bytes(b))),
        DataType::Int16 => raw(bytes, |b| i64::from(i16::from_le_bytes(b))),
        DataType::Uint32 => raw(bytes, |b| i64::from(u32::from_le_bytes(b))),
        DataType::Int32 => raw(bytes, |b| i64::from(i32::from_le_bytes(b))),
        DataType::Int64 => raw(bytes, i64::from_le_bytes),
        DataType::Uint64 => raw(bytes, |b| u64::from_le_bytes(b) as i64),
        other => return Err(format!("it is of {other:?}, expected integers")),
    })
}

/// A half-precision float by its bits.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => return f32::from_bits(sign) + f32::copysign(fraction as f32 * 2f32.powi(-24), f32::from_bits(sign)),
        0x1f => 0xff << 23 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// A tensor of floats.
pub(super) fn of_floats(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// A vector of integers, or a single one if `dims` is empty.
pub(super) fn of_ints(name: &str, dims: &[usize], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_matches_its_definition() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x8001, -(2f32.powi(-24))),
            (0x0400, 2f32.powi(-14)),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:04x}");
        }
        assert!(half(0x7e00).is_nan());
        assert!(half(0x8000).is_sign_negative());
    }

    #[test]
    fn tensors_of_another_length_than_their_shape_are_refused() {
        let mut tensor = of_floats("w", &[2, 3], &[0.0; 6]);
        assert_eq!(dims(&tensor), Ok(vec![2, 3]));
        assert_eq!(floats(&tensor).unwrap().len(), 6);
        for wrong in [vec![2, 2], vec![-2, -3], vec![1 << 62, 1 << 62], vec![i64::MAX, 2]] {
            tensor.dims = wrong.clone();
            assert!(dims(&tensor).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn integers_are_read_from_bytes_and_from_fields() {
        let tensor = of_ints("i", &[2], &[-1, 1 << 40]);
        assert_eq!(ints(&tensor), Ok(vec![-1, 1 << 40]));
        let mut fields = TensorProto { dims: vec![2], data_type: DataType::Uint8 as i32, ..TensorProto::default() };
        fields.int32_data = vec![3, 250];
        assert_eq!(ints(&fields), Ok(vec![3, 250]));
        fields.data_type = 4711;
        assert!(ints(&fields).is_err());
    }
}
