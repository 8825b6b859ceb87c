//! Winograd's minimal filtering for 3x3 convolutions with stride 1: F(4x4, 3x3), a quarter of the multiplications.
//!
//! The output falls into tiles of 4 x 4 pixels. The 6 x 6 pixels under a tile are transformed, which makes of the
//! convolution 36 products, one for each position, of (tiles x channels) with (channels x channels) weights; their results
//! are transformed back. Weights are transformed when the plan is made. Rounding errors are larger than those of sums of
//! products: their bound over the sum of magnitudes is [`ERROR`], which the tests hold. A value that is infinite or no
//! number makes all sixteen pixels of its tiles no numbers.

#[cfg(test)]
mod tests;
mod transform;

use std::ops::Range;

use super::Shape;
use crate::activation::Activation;
use crate::dispatch::{Token, dispatch_wide};
use crate::gemm::{
    Epilogue, KernelFamily, NR, ROWS, Reduction, even, f32_groups, pack as pack_gemm, packed_len as gemm_len,
};
use crate::simd::Simd;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;
use transform::lines;

/// Pixels along a side of a tile.
const OUT: usize = 4;
/// Pixels along a side of what a tile is computed from.
const IN: usize = OUT + 2;
/// Products.
const POSITIONS: usize = IN * IN;
/// Channels that are transformed at once, so that what lies between the two axes stays in the first-level cache.
const CHUNK: usize = 64;
/// Transformed tiles and their products are kept in the second-level cache.
const BLOCK_BYTES: usize = 256 * 1024;
/// Tiles of a block at least: the weights of all positions are read anew for each.
const LEAST_TILES: usize = 24;
/// The fewest channels: a vector of every instruction set.
const LEAST_CHANNELS: usize = 8;

/// Bound of the error of a result, over the sum of the magnitudes of its products and those of the other pixels of its
/// tile: some 25 roundings' worth.
pub const ERROR: f32 = 1.5e-6;

/// Tiles along the rows and the columns.
fn tiles(shape: &Shape) -> [usize; 2] {
    shape.window.output.map(|size| size.div_ceil(OUT))
}

/// Tiles that are transformed before their products are computed.
fn block_len(shape: &Shape) -> usize {
    let bytes = POSITIONS * (shape.channels_in + shape.channels_out) * size_of::<f32>();
    let [rows, columns] = tiles(shape);
    (BLOCK_BYTES / bytes.max(1)).clamp(LEAST_TILES, ROWS).min(rows * columns)
}

/// Channels of a group, going in and coming out.
fn group(shape: &Shape) -> [usize; 2] {
    [shape.channels_in / shape.groups, shape.channels_out / shape.groups]
}

/// Whether a convolution can be computed so.
pub fn fits(shape: &Shape) -> bool {
    let window = shape.window;
    let channels = shape.channels_in.min(shape.channels_out);
    window.kernel == [3, 3] && window.stride == [1, 1] && channels >= LEAST_CHANNELS
}

/// Whether that is less work, on any instruction set. What transforms cost, in multiply-adds of a product, was counted on
/// ARM: 9 for each channel and position of a tile. With few tiles, the weights, four times as many, are read for too little.
pub fn pays(shape: &Shape) -> bool {
    let [rows, columns] = tiles(shape);
    let [ci, co] = group(shape);
    let pixels: usize = shape.window.output.iter().product();
    let direct = pixels * 9 * ci * shape.channels_out;
    let products = rows * columns * POSITIONS * ci * co * shape.groups;
    let transforms = rows * columns * POSITIONS * (shape.channels_in + shape.channels_out) * 9;
    fits(shape) && rows * columns >= 9 && 10 * (products + transforms) <= 8 * direct
}

/// Length of the transformed, packed weights.
pub fn packed_len(shape: &Shape) -> usize {
    let [ci, co] = group(shape);
    POSITIONS * shape.groups * gemm_len(ci, co)
}

/// Transforms weights that [`Shape::pack`] has packed: for each position and each group, a packed GEMM operand.
///
/// # Panics
/// `direct` does not have [`Shape::packed_len`] entries, or the shape does not [fit](fits).
pub fn transform(shape: &Shape, direct: &[f32]) -> Vec<f32> {
    assert!(fits(shape) && direct.len() == shape.packed_len(), "weights of {shape:?}");
    let [ci, co] = group(shape);
    let one = gemm_len(ci, co);
    let mut packed = vec![0.0; packed_len(shape)];
    for (g, direct) in direct.chunks_exact(shape.packed_len() / shape.groups).enumerate() {
        let plain = KernelFamily::F32.unpack(Reduction::whole(9 * ci), co, direct);
        for position in 0..POSITIONS {
            let (y, x) = (position / IN, position % IN);
            let weight = |i: usize, n: usize| {
                let tap = |ky: usize, kx: usize| f64::from(plain[((ky * 3 + kx) * ci + i) * co + n]);
                let row = |ky: usize| -> f64 { (0..3).map(|kx| transform::WEIGHTS[x][kx] * tap(ky, kx)).sum() };
                (0..3).map(|ky| transform::WEIGHTS[y][ky] * row(ky)).sum::<f64>() as f32
            };
            let at = (position * shape.groups + g) * one;
            pack_gemm(ci, co, weight, &mut packed[at..at + one]);
        }
    }
    packed
}

/// The inverse of [`transform`], up to rounding: a transform along an axis has the first and the last of three weights alone in
/// one of its values each, and the middle one in the difference of two.
///
/// # Panics
/// `transformed` does not have [`packed_len`] entries, or the shape does not [fit](fits).
pub fn restore(shape: &Shape, transformed: &[f32]) -> Vec<f32> {
    assert!(fits(shape) && transformed.len() == packed_len(shape), "transformed weights of {shape:?}");
    let [ci, co] = group(shape);
    let plain: Vec<Vec<f32>> = transformed
        .chunks_exact(gemm_len(ci, co))
        .map(|packed| KernelFamily::F32.unpack(Reduction::whole(ci), co, packed))
        .collect();
    let back = |along: &dyn Fn(usize) -> f64, tap: usize| match tap {
        0 => 4.0 * along(0),
        1 => 3.0 * (along(2) - along(1)),
        _ => along(5),
    };
    let mut packed = vec![0.0; shape.packed_len()];
    for (g, packed) in packed.chunks_exact_mut(shape.packed_len() / shape.groups).enumerate() {
        let weight = |k: usize, n: usize| {
            let (tap, i) = (k / ci, k % ci);
            let at = |y: usize, x: usize| f64::from(plain[(y * IN + x) * shape.groups + g][i * co + n]);
            back(&|y| back(&|x| at(y, x), tap % 3), tap / 3) as f32
        };
        pack_gemm(9 * ci, co, weight, packed);
    }
    packed
}

/// Multiplies the weights of output channel `n` by `scale(n)`.
pub fn scale_columns(shape: &Shape, packed: &mut [f32], scale: &dyn Fn(usize) -> f32) {
    let [ci, co] = group(shape);
    for (at, packed) in packed.chunks_exact_mut(gemm_len(ci, co)).enumerate() {
        let first = at % shape.groups * co;
        crate::gemm::scale_columns(packed, ci, co, |n| scale(first + n));
    }
}

/// Floats of each part of a thread's scratch memory: transformed pixels, products, what lies between the axes, zeros, and
/// where results outside the image go.
fn parts_of_scratch(shape: &Shape) -> [usize; 5] {
    let tiles = POSITIONS * block_len(shape);
    [tiles * shape.channels_in, tiles * shape.channels_out, POSITIONS * CHUNK, CHUNK, CHUNK]
}

/// Floats of scratch memory that [`convolve`] needs on so many threads.
pub fn scratch_len(shape: &Shape, threads: usize) -> usize {
    threads * parts_of_scratch(shape).iter().sum::<usize>()
}

/// What the transforms of one block of tiles read and write.
struct Block<'a> {
    shape: &'a Shape,
    /// The tiles, row by row of the image.
    tiles: Range<usize>,
    /// The tile whose row of channels is the first of each position.
    first: usize,
    /// Position by position, one row of channels for each tile of the longest block.
    stride: usize,
}

impl Block<'_> {
    /// The rows of channels of the tiles, with the row and the column of each in the image.
    fn places(&self) -> impl Iterator<Item = (usize, [usize; 2])> {
        let columns = tiles(self.shape)[1];
        self.tiles.clone().map(move |tile| (tile - self.first, [tile / columns * OUT, tile % columns * OUT]))
    }

    /// Whether every tile has its row.
    fn fits(&self) -> bool {
        self.first <= self.tiles.start && self.tiles.end - self.first <= self.stride
    }
}

/// Transforms the pixels under the tiles of a block, by rows to `between`, then by columns.
#[inline(always)]
fn input_body<S: Simd>(simd: S, block: &Block<'_>, x: &[f32], zeros: &[f32], between: &mut [f32], mut to: Sink<'_>) {
    let Shape { window, channels_in: channels, .. } = *block.shape;
    assert!(x.len() >= window.input[0] * window.input[1] * channels && zeros.len() >= CHUNK);
    assert!(between.len() >= POSITIONS * CHUNK && block.fits());
    let (between, to) = (between.as_mut_ptr(), to.tile(0, POSITIONS, block.stride * channels, block.stride * channels));
    for (i, [top, left]) in block.places() {
        for chunk in even(channels, CHUNK) {
            let pixel = |y: usize, x_: usize| {
                let y = (top + y).checked_sub(window.padding[0]).filter(|y| *y < window.input[0]);
                let column = (left + x_).checked_sub(window.padding[1]).filter(|x| *x < window.input[1]);
                match (y, column) {
                    (Some(y), Some(column)) => {
                        x[(y * window.input[1] + column) * channels + chunk.start..][..chunk.len()].as_ptr()
                    }
                    _ => zeros.as_ptr(),
                }
            };
            for y in 0..IN {
                let from = std::array::from_fn(|x| pixel(y, x));
                // SAFETY: a pixel has the channels of the chunk, which are no more than CHUNK zeros; `between` has a line
                // of CHUNK floats for each position.
                unsafe {
                    let line: [_; IN] = std::array::from_fn(|x| between.add((y * IN + x) * CHUNK));
                    lines(simd, chunk.len(), from, line, |_, d| transform::input(simd, d));
                }
            }
            for x in 0..IN {
                // SAFETY: as above; `to` has a row of channels for each position and tile, and nobody else has those of these tiles.
                unsafe {
                    let from = std::array::from_fn(|y| between.add((y * IN + x) * CHUNK).cast_const());
                    let line: [_; IN] =
                        std::array::from_fn(|y| to.add(((y * IN + x) * block.stride + i) * channels + chunk.start));
                    lines(simd, chunk.len(), from, line, |_, d| transform::input(simd, d));
                }
            }
        }
    }
}

dispatch_wide! {
    fn input_tiles(block: &Block<'_>, x: &[f32], zeros: &[f32], between: &mut [f32], to: Sink<'_>) = input_body;
}

/// Transforms the products of a block back, by columns to `between`, then by rows, and stores what the epilogue makes of
/// them.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn output_body<S: Simd>(
    simd: S,
    block: &Block<'_>,
    products: &[f32],
    epilogue: Epilogue<'_>,
    zeros: &[f32],
    between: &mut [f32],
    nowhere: &mut [f32],
    mut out: Sink<'_>,
) {
    let Shape { window, channels_out: channels, .. } = *block.shape;
    assert!(products.len() >= POSITIONS * block.stride * channels && block.fits());
    assert!(between.len() >= POSITIONS * CHUNK && nowhere.len() >= CHUNK && zeros.len() >= CHUNK);
    let (products, between, nowhere) = (products.as_ptr(), between.as_mut_ptr(), nowhere.as_mut_ptr());
    let bias = epilogue.bias.map(|bias| &bias[..channels]);
    let finish = |value: S::Vector| match epilogue.activation {
        Activation::Clamp { low, high } => simd.min(simd.max(value, simd.splat(low)), simd.splat(high)),
        Activation::HardSwish => {
            let gate = simd.mul_add(value, simd.splat(1.0 / 6.0), simd.splat(0.5));
            simd.mul(value, simd.min(simd.max(gate, simd.splat(0.0)), simd.splat(1.0)))
        }
        Activation::Identity | Activation::Sigmoid | Activation::Gelu => value,
    };
    for (i, [top, left]) in block.places() {
        for chunk in even(channels, CHUNK) {
            for x in 0..IN {
                // SAFETY: `products` has a row of channels for each position and tile, `between` a line of CHUNK floats
                // for each position.
                unsafe {
                    let from = std::array::from_fn(|y| {
                        products.add(((y * IN + x) * block.stride + i) * channels + chunk.start)
                    });
                    let line: [_; OUT] = std::array::from_fn(|y| between.add((y * IN + x) * CHUNK));
                    lines(simd, chunk.len(), from, line, |_, m| transform::output(simd, m));
                }
            }
            let bias = bias.map_or(zeros, |bias| &bias[chunk.clone()]).as_ptr();
            for y in 0..OUT.min(window.output[0] - top) {
                let width = OUT.min(window.output[1] - left);
                let at = |x: usize| ((top + y) * window.output[1] + left + x) * channels + chunk.start;
                let line: [_; OUT] =
                    std::array::from_fn(
                        |x| {
                            if x < width { out.entries(at(x), chunk.len()).as_mut_ptr() } else { nowhere }
                        },
                    );
                let residual: [_; OUT] = std::array::from_fn(|x| match epilogue.residual {
                    Some(residual) if x < width => residual[at(x)..][..chunk.len()].as_ptr(),
                    _ => zeros.as_ptr(),
                });
                // SAFETY: as above; bias, residual and result have the channels of the chunk, checked where they were
                // taken; a result is written by this thread alone.
                unsafe {
                    let from = std::array::from_fn(|x| between.add((y * IN + x) * CHUNK).cast_const());
                    lines(simd, chunk.len(), from, line, |at, m| {
                        let bias = simd.load(bias.add(at));
                        let mut sums = transform::output(simd, m).map(|sum| simd.add(sum, bias));
                        if epilogue.residual.is_some() {
                            for (sum, residual) in sums.iter_mut().zip(residual) {
                                *sum = simd.add(*sum, simd.load(residual.add(at)));
                            }
                        }
                        sums.map(finish)
                    });
                }
                if epilogue.split(false).1 {
                    for x in 0..width {
                        let values = out.entries(at(x), chunk.len());
                        if epilogue.activation.is_costly() {
                            simd.activate_row(epilogue.activation, values);
                        }
                        simd.apply_stages(epilogue.then, at(x), channels, values);
                    }
                }
            }
        }
    }
}

dispatch_wide! {
    fn output_tiles(block: &Block<'_>, products: &[f32], epilogue: Epilogue<'_>, zeros: &[f32], between: &mut [f32], nowhere: &mut [f32], out: Sink<'_>) = output_body;
}

/// As [`convolve`](super::convolve), with weights from [`transform`] and [`scratch_len`] floats of scratch memory. Results are
/// the same bits on any number of threads.
///
/// # Panics
/// The shape does not [fit](fits), or a slice is shorter than it says.
pub fn convolve(
    pool: &mut ThreadPool,
    x: &[f32],
    shape: &Shape,
    packed: &[f32],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    assert!(fits(shape), "a convolution of {shape:?}");
    let count = tiles(shape).iter().product::<usize>();
    let convolution = Winograd { shape, x, packed, epilogue, token: pool.token(), out: Sink::new(out) };
    let parts = pool.parts(shape.operations() / 4, count);
    if parts > 1 && packed.len() > x.len() && count <= block_len(shape) {
        convolution.by_positions(pool, count, parts, scratch);
    } else {
        convolution.by_tiles(pool, count, parts, scratch);
    }
}

/// A convolution under way.
struct Winograd<'a> {
    shape: &'a Shape,
    x: &'a [f32],
    packed: &'a [f32],
    epilogue: Epilogue<'a>,
    token: Token,
    out: Sink<'a>,
}

impl Winograd<'_> {
    /// Each part has tiles of its own, from pixels to results, and reads all weights.
    fn by_tiles(&self, pool: &mut ThreadPool, count: usize, parts: usize, scratch: &mut [f32]) {
        let (stride, lens) = (block_len(self.shape), parts_of_scratch(self.shape));
        pool.run_with_scratch(parts, scratch, &|part, scratch| {
            let [pixels, products, between, zeros, nowhere] = cut(scratch, lens);
            zeros.fill(0.0);
            let first = part * count / parts;
            for tiles in even((part + 1) * count / parts - first, stride) {
                let tiles = first + tiles.start..first + tiles.end;
                let block = Block { shape: self.shape, first: tiles.start, tiles, stride };
                self.transform_pixels(&block, zeros, between, Sink::new(pixels));
                for (position, products) in products.chunks_exact_mut(stride * self.shape.channels_out).enumerate() {
                    self.multiply(position, &block, pixels, products);
                }
                self.transform_products(&block, products, zeros, between, nowhere);
            }
        });
    }

    /// All tiles step by step, since with few of them the weights are what has to be read once: pixels and results are cut by tiles,
    /// products by positions, each with weights of its own.
    fn by_positions(&self, pool: &mut ThreadPool, count: usize, parts: usize, scratch: &mut [f32]) {
        let (shape, lens) = (self.shape, parts_of_scratch(self.shape));
        let [pixels, products, rest] = cut(scratch, [lens[0], lens[1], scratch.len() - lens[0] - lens[1]]);
        let block = |part: usize| {
            let tiles = part * count / parts..(part + 1) * count / parts;
            Block { shape, tiles, first: 0, stride: count }
        };
        let transformed = Sink::new(pixels);
        pool.run_with_scratch(parts, rest, &|part, scratch| {
            let [between, zeros, _] = cut(scratch, [lens[2], lens[3], lens[4]]);
            zeros.fill(0.0);
            // SAFETY: each part writes the rows of its own tiles.
            self.transform_pixels(&block(part), zeros, between, unsafe { transformed.share() });
        });
        let (all, len) = (Block { shape, tiles: 0..count, first: 0, stride: count }, count * shape.channels_out);
        let positions = POSITIONS.div_ceil(parts);
        let pixels = &*pixels;
        pool.run_chunks(&mut products[..POSITIONS * len], positions * len, &|part, products| {
            for (i, products) in products.chunks_exact_mut(len).enumerate() {
                self.multiply(part * positions + i, &all, pixels, products);
            }
        });
        let products = &*products;
        pool.run_with_scratch(parts, rest, &|part, scratch| {
            let [between, zeros, nowhere] = cut(scratch, [lens[2], lens[3], lens[4]]);
            zeros.fill(0.0);
            self.transform_products(&block(part), products, zeros, between, nowhere);
        });
    }

    /// For images of `channels` channels: a line is as long as a vector at least.
    fn transform_token(&self, channels: usize) -> Token {
        if channels < NR { self.token.narrow() } else { self.token }
    }

    fn transform_pixels(&self, block: &Block<'_>, zeros: &[f32], between: &mut [f32], to: Sink<'_>) {
        input_tiles(self.transform_token(self.shape.channels_in), block, self.x, zeros, between, to);
    }

    /// The products of one position.
    fn multiply(&self, position: usize, block: &Block<'_>, pixels: &[f32], products: &mut [f32]) {
        let Shape { channels_in, groups, .. } = *self.shape;
        let ([ci, co], count) = (group(self.shape), block.tiles.len());
        let rows = &pixels[position * block.stride * channels_in..][..count * channels_in];
        let mut list: [&[f32]; ROWS] = [&[]; ROWS];
        list.iter_mut().zip(rows.chunks_exact(channels_in)).for_each(|(slice, row)| *slice = row);
        let len = groups * gemm_len(ci, co);
        let weights = &self.packed[position * len..][..len];
        f32_groups(self.token, &list[..count], groups, weights, co, Sink::new(products));
    }

    fn transform_products(
        &self,
        block: &Block<'_>,
        products: &[f32],
        zeros: &[f32],
        between: &mut [f32],
        nowhere: &mut [f32],
    ) {
        // SAFETY: each part writes the pixels of its own tiles.
        let out = unsafe { self.out.share() };
        let token = self.transform_token(self.shape.channels_out);
        output_tiles(token, block, products, self.epilogue, zeros, between, nowhere, out);
    }
}

/// Scratch memory cut into its parts.
fn cut<const N: usize>(mut scratch: &mut [f32], lens: [usize; N]) -> [&mut [f32]; N] {
    lens.map(|len| {
        let (part, rest) = std::mem::take(&mut scratch).split_at_mut(len);
        scratch = rest;
        part
    })
}
