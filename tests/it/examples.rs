//! The examples that take no arguments run to their end.

#[path = "../../examples/batch.rs"]
mod batch;
#[path = "../../examples/bundle.rs"]
mod bundle;
#[path = "../../examples/camera_loop.rs"]
mod camera_loop;
#[path = "../../examples/own_gauge.rs"]
mod own_gauge;

#[test]
fn example_batch_runs() {
    batch::main().unwrap();
}

#[test]
fn example_bundle_runs() {
    bundle::main().unwrap();
}

#[test]
fn example_camera_loop_runs() {
    camera_loop::main().unwrap();
}

#[test]
fn example_own_gauge_runs() {
    own_gauge::main().unwrap();
}
