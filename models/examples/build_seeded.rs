//! Writes a network with deterministic weights: `build_seeded NAME DEPTH_FACTOR FILE`, for instance
//! `build_seeded reg800m_perceiver_t128 1,1,1,2 model.onnx`.

use dyn_perceiver_models::{Config, Metadata, Network, Seeded};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, factors, path] = arguments.as_slice() else { return Err("usage: NAME DEPTH_FACTOR FILE".into()) };
    let factors: Vec<usize> = factors.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let depth_factor = factors.try_into().map_err(|_| "four depth factors are needed")?;
    let config = Config::from_name(name)?.with_depth_factor(depth_factor);
    let network = Network::new(&config)?;
    network.save(path.as_ref(), &mut Seeded, &Metadata::imagenet(config.classes), &mut |_, _| {})?;
    println!("{path}: {} parameters, MACs per exit {:?}", network.parameter_count(), network.macs_per_exit());
    Ok(())
}
