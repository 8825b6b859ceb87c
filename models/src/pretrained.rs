//! The shipped model with its policy and frames, as bytes of the program that names them.

/// The trained Dynamic Perceiver for Fashion-MNIST, an ONNX file.
pub const MODEL: &[u8] = include_bytes!("../pretrained/fashion-mnist/model.onnx");
/// Its calibrated policy, as JSON.
pub const POLICY: &[u8] = include_bytes!("../pretrained/fashion-mnist/policy.json");
/// 1,000 test images, a gzipped IDX file.
pub const FRAMES: &[u8] = include_bytes!("../pretrained/fashion-mnist/frames-images-idx3-ubyte.gz");
/// Their labels, a gzipped IDX file.
pub const FRAME_LABELS: &[u8] = include_bytes!("../pretrained/fashion-mnist/frames-labels-idx1-ubyte.gz");
/// What the model is called where a path would stand.
pub const NAME: &str = "fashion-mnist (built in)";
