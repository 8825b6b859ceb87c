//! Arithmetic on the few values that decide shapes: what exporters compute of `Shape`.

use tract_onnx::pb::tensor_proto::DataType;

use crate::model::fact::{FOLLOWED, Fact, Value, elements};

pub(super) fn unary(operator: &str, value: &Value) -> Option<Value> {
    Some(match value {
        Value::Ints(values) => {
            let f: fn(i64) -> Option<i64> = match operator {
                "Neg" => i64::checked_neg,
                "Abs" => i64::checked_abs,
                "Sign" => |v| Some(v.signum()),
                "Relu" => |v| Some(v.max(0)),
                _ => return None,
            };
            Value::Ints(values.iter().map(|&v| f(v)).collect::<Option<_>>()?)
        }
        Value::Floats(values) => {
            let f: fn(f32) -> f32 = match operator {
                "Neg" => |v| -v,
                "Abs" => f32::abs,
                "Floor" => f32::floor,
                "Ceil" => f32::ceil,
                "Round" => f32::round_ties_even,
                "Sqrt" => f32::sqrt,
                "Reciprocal" => f32::recip,
                _ => return None,
            };
            Value::Floats(values.iter().map(|&v| f(v)).collect())
        }
    })
}

/// For each place of the result, the place in an operand that is broadcast to it.
fn places(dims: &[usize], result: &[usize]) -> Option<impl Iterator<Item = usize>> {
    let count = elements(result).ok().filter(|&n| n <= FOLLOWED)?;
    let (dims, result) = (dims.to_vec(), result.to_vec());
    Some((0..count).map(move |mut index| {
        let (mut place, mut stride) = (0, 1);
        for i in (0..result.len()).rev() {
            let at = index % result[i];
            index /= result[i];
            if let Some(&dim) = (i + dims.len()).checked_sub(result.len()).and_then(|i| dims.get(i)) {
                place += if dim == 1 { 0 } else { at * stride };
                stride *= dim;
            }
        }
        place
    }))
}

pub(super) fn spread(fact: &Fact, result: &[usize]) -> Option<Value> {
    fact.value.as_ref()?.pick(places(&fact.dims, result)?)
}

pub(super) fn binary(operator: &str, a: &Fact, b: &Fact, dims: &[usize]) -> Option<Value> {
    match (spread(a, dims)?, spread(b, dims)?) {
        (Value::Ints(a), Value::Ints(b)) => {
            a.into_iter().zip(b).map(|(a, b)| ints(operator, a, b)).collect::<Option<_>>().map(Value::Ints)
        }
        (Value::Floats(a), Value::Floats(b)) => {
            let f: fn(f32, f32) -> f32 = match operator {
                "Add" | "Sum" => |a, b| a + b,
                "Sub" => |a, b| a - b,
                "Mul" => |a, b| a * b,
                "Div" => |a, b| a / b,
                "Min" => f32::min,
                "Max" => f32::max,
                "Pow" => f32::powf,
                _ => return compared(operator, &a, &b),
            };
            Some(Value::Floats(a.into_iter().zip(b).map(|(a, b)| f(a, b)).collect()))
        }
        _ => None,
    }
}

fn compared(operator: &str, a: &[f32], b: &[f32]) -> Option<Value> {
    let f: fn(f32, f32) -> bool = match operator {
        "Equal" => |a, b| a == b,
        "Less" => |a, b| a < b,
        "LessOrEqual" => |a, b| a <= b,
        "Greater" => |a, b| a > b,
        "GreaterOrEqual" => |a, b| a >= b,
        _ => return None,
    };
    Some(Value::Ints(a.iter().zip(b).map(|(&a, &b)| i64::from(f(a, b))).collect()))
}

fn ints(operator: &str, a: i64, b: i64) -> Option<i64> {
    match operator {
        "Add" | "Sum" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        // With `fmod`: others are written out before.
        "Mod" => a.checked_rem(b),
        "Min" => Some(a.min(b)),
        "Max" => Some(a.max(b)),
        "Equal" => Some(i64::from(a == b)),
        "Less" => Some(i64::from(a < b)),
        "LessOrEqual" => Some(i64::from(a <= b)),
        "Greater" => Some(i64::from(a > b)),
        "GreaterOrEqual" => Some(i64::from(a >= b)),
        "And" => Some(i64::from(a != 0 && b != 0)),
        "Or" => Some(i64::from(a != 0 || b != 0)),
        "Xor" => Some(i64::from((a != 0) != (b != 0))),
        _ => None,
    }
}

pub(super) fn choose(condition: &Fact, a: &Fact, b: &Fact, dims: &[usize]) -> Option<Value> {
    let Value::Ints(condition) = spread(condition, dims)? else { return None };
    fn chosen<T>(condition: Vec<i64>, a: Vec<T>, b: Vec<T>) -> Vec<T> {
        condition.into_iter().zip(a.into_iter().zip(b)).map(|(c, (a, b))| if c != 0 { a } else { b }).collect()
    }
    match (spread(a, dims)?, spread(b, dims)?) {
        (Value::Ints(a), Value::Ints(b)) => Some(Value::Ints(chosen(condition, a, b))),
        (Value::Floats(a), Value::Floats(b)) => Some(Value::Floats(chosen(condition, a, b))),
        _ => None,
    }
}

pub(super) fn cast(value: &Value, to: DataType) -> Option<Value> {
    Some(match (value, to) {
        (Value::Ints(values), DataType::Bool) => Value::Ints(values.iter().map(|&v| i64::from(v != 0)).collect()),
        (Value::Ints(values), DataType::Float | DataType::Double | DataType::Float16) => {
            Value::Floats(values.iter().map(|&v| v as f32).collect())
        }
        (Value::Ints(_), DataType::Int64) => value.clone(),
        (Value::Ints(values), DataType::Int32) => {
            Value::Ints(values.iter().map(|&v| i32::try_from(v).ok().map(i64::from)).collect::<Option<_>>()?)
        }
        (Value::Floats(values), DataType::Bool) => Value::Ints(values.iter().map(|&v| i64::from(v != 0.0)).collect()),
        (Value::Floats(values), DataType::Int64 | DataType::Int32) => {
            let whole = |&v: &f32| (v.abs() < 2f32.powi(31)).then_some(v as i64);
            Value::Ints(values.iter().map(whole).collect::<Option<_>>()?)
        }
        (Value::Floats(_), DataType::Float | DataType::Double) => value.clone(),
        _ => return None,
    })
}
