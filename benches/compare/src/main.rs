//! dyn-perceiver beside the runtimes people would use instead.

mod result;

fn main() {}
