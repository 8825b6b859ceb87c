//! JSON schemas of everything that the program prints or saves as JSON, made of the types that it is made of. They are
//! files in docs/schemas; `UPDATE_SCHEMAS=1 cargo test -p dyn-perceiver-cli --bin dyn-perceiver schemas` renews them.
//!
//! Types of other crates are written down once more here, closed to further keys: the tests that hold real outputs against
//! the files find out when they differ.
#![allow(clippy::disallowed_macros, reason = "no path is in a schema")]

use std::path::PathBuf;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};

use crate::commands::{
    calibrate, classify, classify_clips, compile, config, doctor, evaluate, gate, inspect, learn, meter, models, plan,
    profile, quantize, records as parts, simulate, train,
};
use crate::live;
use crate::output::{json, network, records};

/// An object whose keys are told elsewhere.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Object(serde_json::Map<String, Value>);

/// What one stage costs.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Stage {
    exit: String,
    nodes: usize,
    macs: u64,
    cumulative_macs: u64,
    exit_alone_macs: u64,
    parameters: u64,
    weight_bytes: u64,
    carry_bytes: u64,
}

/// The costs of one network on one board.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Profile {
    /// "measured" or "modelled".
    source: String,
    /// How they were come by, in words.
    method: String,
    idle_watts: f64,
    stages: Vec<StageProfile>,
    /// Threads that the network ran on, if known.
    threads: Option<usize>,
    /// The whole network on other numbers of threads and at other clocks, where that was measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variants: Vec<Variant>,
}

/// The whole network on so many threads at a clock of the processor.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Variant {
    threads: usize,
    megahertz: Option<f64>,
    seconds: f64,
    joules: Option<f64>,
    standard_error: Option<f64>,
}

/// What one stage costs.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct StageProfile {
    exit: String,
    joules: f64,
    standard_error: Option<f64>,
    seconds: f64,
    cumulative_joules: f64,
}

/// What slows a machine down.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct State {
    cores: Vec<Core>,
    celsius: Option<f64>,
    throttled: Option<Throttled>,
    cooling: Vec<Cooling>,
}

/// Clock of one core.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Core {
    core: u32,
    mhz: f64,
    limit_mhz: Option<f64>,
    max_mhz: Option<f64>,
    governor: Option<String>,
}

/// The firmware's flags.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Throttled {
    bits: u32,
}

/// What the kernel may slow down.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Cooling {
    kind: String,
    step: u64,
    steps: u64,
}

/// One strategy over many missions.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MissionSummary {
    missions: usize,
    frames: f64,
    accuracy: f64,
    right: f64,
    right_per_watt_hour: f64,
    lifetime: f64,
    soc_mean: f64,
    soc_lowest: f64,
    within_2_points: f64,
    below_2_points: f64,
    brown_outs: usize,
    switches: f64,
    reasons: std::collections::BTreeMap<String, f64>,
}

fn of<T: JsonSchema>() -> Value {
    let schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    let mut value = Schema::to_value(schema);
    adapt(&mut value);
    value
}

/// What holds for all of the program's JSON: a number that has no value is null, and how wide a number is in the program is
/// nobody's business.
fn adapt(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("type") == Some(&json!("number")) {
                object.insert("type".into(), json!(["number", "null"]));
            }
            object.remove("format");
            object.values_mut().for_each(adapt);
        }
        Value::Array(values) => values.iter_mut().for_each(adapt),
        _ => {}
    }
}

/// A report with its version.
fn report<T: JsonSchema + Serialize + 'static>() -> Value {
    of::<json::Versioned<'static, T>>()
}

/// All schemas, by the names of their files.
fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("calibrate", report::<calibrate::Report<'static>>()),
        ("calibrate-detection", report::<calibrate::detection::Report<'static>>()),
        ("calibrate-video", report::<calibrate::video::Report<'static>>()),
        ("classify", report::<classify::Report<'static>>()),
        ("classify-clip", report::<classify_clips::Report<'static>>()),
        ("compile", report::<compile::Report<'static>>()),
        ("quantize", report::<quantize::Report<'static>>()),
        ("config-check", report::<config::Checked<'static>>()),
        ("config-show", report::<config::Shown<'static>>()),
        ("doctor", report::<doctor::Report<'static>>()),
        ("doctor-list", report::<doctor::Boards<'static>>()),
        ("evaluate", report::<evaluate::Report<'static>>()),
        ("evaluate-detection", report::<evaluate::detection::Report<'static>>()),
        ("evaluate-video", report::<evaluate::video::Report<'static>>()),
        ("event", report::<live::Event>()),
        ("gate", report::<gate::Report<'static>>()),
        ("inspect", report::<inspect::Report<'static>>()),
        ("learn", report::<learn::Report<'static>>()),
        ("meter", report::<meter::Report>()),
        ("models", report::<models::Report>()),
        ("models-built-in", report::<models::BuiltIn<'static>>()),
        ("network", report::<network::Report<'static>>()),
        ("plan", report::<plan::Report<'static>>()),
        ("profile", report::<profile::Report<'static>>()),
        ("records", report::<parts::Report<'static>>()),
        ("run", of::<records::Stamped<'static>>()),
        ("settings", crate::settings::schema()),
        ("simulate", report::<simulate::Report<'static>>()),
        ("state", of::<live::State>()),
        ("train", report::<train::Report<'static>>()),
        ("version", report::<crate::version::Report>()),
    ]
}

#[test]
fn schemas_in_the_documents_are_those_of_the_types() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut names: Vec<String> = vec![];
    // Options that a feature brings are settings only with it; the file has those of the default features.
    let is_default = cfg!(all(feature = "gpio", feature = "http", not(feature = "mqtt")));
    for (name, schema) in all() {
        names.push(format!("{name}.json"));
        if name == "settings" && !is_default {
            continue;
        }
        let path = folder.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "docs/schemas/{name}.json is not what the types say: see UPDATE_SCHEMAS");
    }
    names.sort_unstable();
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files.collect();
    files.sort_unstable();
    assert_eq!(files, names, "a schema of nothing");
}
