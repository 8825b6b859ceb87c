//! The attention layers of the latent branch (Han et al., section 3.2): cross-attention both ways, self-attention.

use crate::builder::Builder;
use crate::graph::Value;

/// Cross-attention of `q` (1, T, C) to `kv` (1, S, D) with one head of `width`, residual, then an MLP of widening 1.
///
/// With `positions`, a learned bias (1, S, width) is added to the keys.
pub(crate) fn cross_attention(
    b: &mut Builder,
    name: &str,
    key: &str,
    (q, kv): (&Value, &Value),
    width: usize,
    positions: bool,
) -> Value {
    let attn = format!("{key}.cross_attn");
    let normed_q = b.layer_norm(&format!("{name}/q_norm"), q, &format!("{attn}.q_norm"));
    let normed_kv = b.layer_norm(&format!("{name}/kv_norm"), kv, &format!("{attn}.kv_norm"));
    let key_attention = format!("{attn}.attention");
    let y = attention(b, &format!("{name}/attention"), &key_attention, (&normed_q, &normed_kv), width, 1, positions);
    let z = b.add(&format!("{name}/residual"), q, &y);
    mlp(b, &format!("{name}/mlp"), &format!("{key}.mlp"), &z, 1)
}

/// A pre-norm transformer layer on tokens (1, T, C).
pub(crate) fn self_attention(
    b: &mut Builder,
    name: &str,
    key: &str,
    z: &Value,
    heads: usize,
    widening: usize,
) -> Value {
    let y = b.layer_norm(&format!("{name}/norm"), z, &format!("{key}.self_attn.norm"));
    let key_attention = format!("{key}.self_attn.attention");
    let y = attention(b, &format!("{name}/attention"), &key_attention, (&y, &y), z.shape[2], heads, false);
    let z = b.add(&format!("{name}/residual"), z, &y);
    mlp(b, &format!("{name}/mlp"), &format!("{key}.mlp"), &z, widening)
}

/// Scaled dot-product attention; the scale (width per head)^-1/2 is folded into the query projection.
fn attention(
    b: &mut Builder,
    name: &str,
    key: &str,
    (q_in, kv_in): (&Value, &Value),
    width: usize,
    heads: usize,
    positions: bool,
) -> Value {
    let per_head = width / heads;
    let scale = (per_head as f64).powf(-0.5) as f32;
    let q = b.linear(&format!("{name}/q"), q_in, &format!("{key}.q_proj"), width, false, scale);
    let mut k = b.linear(&format!("{name}/k"), kv_in, &format!("{key}.k_proj"), width, false, 1.0);
    if positions {
        k = b.add_parameter(&format!("{name}/k/position"), &k, format!("{key}.relative_position_bias"));
    }
    let v = b.linear(&format!("{name}/v"), kv_in, &format!("{key}.v_proj"), width, false, 1.0);

    let mut split = |part: &str, x: &Value, order: [usize; 4]| {
        let x = b.reshape(&format!("{name}/{part}/split"), x, &[x.shape[1], heads, per_head]);
        b.transpose(&format!("{name}/{part}/heads"), &x, &order)
    };
    let y = if heads == 1 {
        let k = b.transpose(&format!("{name}/k/transposed"), &k, &[0, 2, 1]);
        weighted_sum(b, name, &q, &k, &v)
    } else {
        let q = split("q", &q, [0, 2, 1, 3]);
        let k = split("k", &k, [0, 2, 3, 1]);
        let v = split("v", &v, [0, 2, 1, 3]);
        let y = weighted_sum(b, name, &q, &k, &v);
        let y = b.transpose(&format!("{name}/joined"), &y, &[0, 2, 1, 3]);
        b.reshape(&format!("{name}/merged"), &y, &[y.shape[1], width])
    };
    b.linear(&format!("{name}/out"), &y, &format!("{key}.o_proj"), q_in.shape[2], true, 1.0)
}

fn weighted_sum(b: &mut Builder, name: &str, q: &Value, k: &Value, v: &Value) -> Value {
    let scores = b.matmul(&format!("{name}/scores"), q, k);
    let shares = b.softmax(&format!("{name}/softmax"), &scores);
    b.matmul(&format!("{name}/values"), &shares, v)
}

/// LayerNorm, Linear to `widening` times the channels, GELU, Linear, residual.
fn mlp(b: &mut Builder, name: &str, key: &str, x: &Value, widening: usize) -> Value {
    let channels = x.shape[2];
    let y = b.layer_norm(&format!("{name}/norm"), x, &format!("{key}.layernorm"));
    let y = b.linear(&format!("{name}/fc1"), &y, &format!("{key}.fc1"), widening * channels, true, 1.0);
    let y = b.gelu(&format!("{name}/gelu"), &y);
    let y = b.linear(&format!("{name}/fc2"), &y, &format!("{key}.fc2"), channels, true, 1.0);
    b.add(&format!("{name}/residual"), x, &y)
}
