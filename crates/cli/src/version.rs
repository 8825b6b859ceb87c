//! What this program is: the long form of `--version`.

use std::sync::LazyLock;

use dyn_perceiver::bundle;
use dyn_perceiver_kernels::Isa;

/// Everything a report of a fault should say of the program.
pub(crate) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    &TEXT
}

fn text() -> String {
    let features: Vec<&str> = [
        ("gpio", cfg!(feature = "gpio")),
        ("http", cfg!(feature = "http")),
        ("i2c", cfg!(feature = "i2c")),
        ("mqtt", cfg!(feature = "mqtt")),
        ("v4l", cfg!(feature = "v4l")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect();
    let (target, commit) = (env!("DYN_PERCEIVER_TARGET"), option_env!("DYN_PERCEIVER_COMMIT").unwrap_or("unknown"));
    let build = if cfg!(debug_assertions) { "with debug assertions" } else { "release" };
    format!(
        "{}\ncommit         {commit}\ntarget         {target}, {build}\nfeatures       {}\nbundle format  {}\n\
         JSON schema    {}\ninstructions   {} (of {})",
        env!("CARGO_PKG_VERSION"),
        features.join(", "),
        bundle::VERSION,
        crate::output::json::SCHEMA,
        dyn_perceiver_kernels::isa(),
        Isa::available().map(Isa::name).collect::<Vec<_>>().join(", "),
    )
}
