//! Leaving early on a microcontroller: logits in, decision out, without `std` or an allocator.
//!
//! The function is what firmware calls; `main` stands in for it on a host: `cargo run -p dyn-perceiver-core --example decision`.

use dyn_perceiver_core::exit::{Decision, ExitPolicy, LogitsError, Measure, PolicyError};

/// Whether the frame may leave at `exit`, and its class so far.
///
/// # Errors
/// [`LogitsError`] when there are no logits or one is not a finite number: then the next exit is to be asked.
fn decide(policy: &ExitPolicy, exit: usize, logits: &[f32]) -> Result<(usize, bool), LogitsError> {
    let reading = policy.measure().read(logits)?;
    Ok((reading.class, policy.decide(exit, reading.confidence) == Decision::Leave))
}

fn main() -> Result<(), PolicyError> {
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 3, &[0.9, 0.8])?;
    for (exit, logits) in [[0.1, 0.4, 0.2], [0.3, 2.9, -1.0], [0.0, 4.0, 0.0]].iter().enumerate() {
        match decide(&policy, exit, logits) {
            Ok((class, true)) => {
                println!("exit {exit}: class {class}, done");
                break;
            }
            Ok((class, false)) => println!("exit {exit}: class {class}, not sure"),
            Err(error) => println!("exit {exit}: {error}, passed over"),
        }
    }
    Ok(())
}
