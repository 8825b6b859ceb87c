//! What this program is: the long form of `--version`, as text and as JSON.

use std::ffi::OsString;
use std::sync::LazyLock;

use dyn_perceiver::bundle;
use dyn_perceiver_kernels::Isa;
use dyn_perceiver_kernels::thread_pool::ThreadPool;
use serde::Serialize;

/// Everything a report of a fault should say of the program and of the processor that it runs on.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report {
    version: &'static str,
    /// The commit that it was built from; null where the build was not told.
    commit: Option<&'static str>,
    /// The compiler.
    rustc: &'static str,
    /// The build's profile; "release" also stands for those that inherit from it.
    profile: &'static str,
    target: &'static str,
    features: Vec<&'static str>,
    /// Version of the bundles that it reads and writes.
    bundle_format: u32,
    /// Version of the keys of its JSON.
    json_schema: u32,
    /// The instruction set that kernels run on here.
    instructions: &'static str,
    /// Those that this processor has.
    available: Vec<&'static str>,
    /// The instructions that int8 kernels run on here.
    int8_instructions: &'static str,
}

impl Report {
    fn new() -> Self {
        let features = [
            ("gpio", cfg!(feature = "gpio")),
            ("http", cfg!(feature = "http")),
            ("i2c", cfg!(feature = "i2c")),
            ("mqtt", cfg!(feature = "mqtt")),
            ("v4l", cfg!(feature = "v4l")),
        ];
        Report {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("DYN_PERCEIVER_COMMIT"),
            rustc: env!("DYN_PERCEIVER_RUSTC"),
            profile: env!("DYN_PERCEIVER_PROFILE"),
            target: env!("DYN_PERCEIVER_TARGET"),
            features: features.into_iter().filter_map(|(name, on)| on.then_some(name)).collect(),
            bundle_format: bundle::VERSION,
            json_schema: crate::output::json::SCHEMA,
            instructions: dyn_perceiver_kernels::isa().name(),
            available: Isa::available().map(Isa::name).collect(),
            int8_instructions: ThreadPool::single().int8_isa().name(),
        }
    }
}

/// The report as text.
pub(crate) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    &TEXT
}

fn text() -> String {
    let Report { version, commit, rustc, profile, target, features, bundle_format, .. } = Report::new();
    let Report { json_schema, instructions, available, int8_instructions, .. } = Report::new();
    let (commit, features, available) = (commit.unwrap_or("unknown"), features.join(", "), available.join(", "));
    format!(
        "{version}\ncommit         {commit}\nrustc          {rustc}\ntarget         {target}, {profile}\n\
         features       {features}\nbundle format  {bundle_format}\nJSON schema    {json_schema}\n\
         instructions   {instructions} (of {available}), int8 {int8_instructions}"
    )
}

/// The report, where the command line asks for the version and for JSON and nothing else: `--version` itself takes no
/// options.
pub(crate) fn asked_as_json(arguments: &[OsString]) -> Option<Report> {
    let words: Option<Vec<&str>> = arguments.get(1..)?.iter().map(|word| word.to_str()).collect();
    let words = words?;
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    let only = words.iter().all(|word| ["--version", "-V", "--verbose", "--json"].contains(word));
    (only && has(&["--version", "-V"]) && has(&["--json"])).then(Report::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_beside_the_version_alone() {
        let asked = |words: &[&str]| {
            let words: Vec<OsString> = std::iter::once(&"dyn-perceiver").chain(words).map(OsString::from).collect();
            asked_as_json(&words).is_some()
        };
        assert!(asked(&["--version", "--json"]) && asked(&["--json", "--verbose", "-V"]));
        assert!(
            !asked(&["--version"]) && !asked(&["--json"]) && !asked(&["run", "--version", "--json"]) && !asked(&[])
        );
    }
}
