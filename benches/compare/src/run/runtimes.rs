//! Who takes part.

use std::path::Path;

use super::peer::Runtime;
use super::venv::Venv;

/// Every runtime, in the order of the tables; the first is the one that the others are compared with.
pub(super) fn all(program: &Path, onnxruntime: Option<&Path>, venv: Option<&Venv>) -> Vec<Runtime> {
    let linked = |name: &str| {
        let mut command = vec![program.display().to_string(), "worker".to_owned(), name.to_owned()];
        if let Some(library) = onnxruntime.filter(|_| name == "onnxruntime") {
            command.extend(["--onnxruntime".to_owned(), library.display().to_string()]);
        }
        Runtime {
            command,
            knows_exits: name.starts_with("dyn-perceiver"),
            fetches: name == "onnxruntime",
            threads: name != "tract",
            batches: name != "dyn-perceiver-unstaged",
            every_task: name != "dyn-perceiver-unstaged",
            quick: true,
            ..Runtime::named(name)
        }
    };
    let python = |name: &str| Runtime {
        command: match venv {
            Some(venv) => vec![venv.python.display().to_string(), venv.worker.display().to_string(), name.to_owned()],
            None => vec![],
        },
        fetches: name == "openvino",
        threads: true,
        batches: name == "openvino",
        every_task: name == "openvino",
        quick: name == "openvino",
        ..Runtime::named(name)
    };
    let linked = ["dyn-perceiver", "dyn-perceiver-unstaged", "tract", "onnxruntime"].map(linked);
    let python = ["openvino", "mnn", "ncnn", "litert", "pytorch", "pytorch-compiled"].map(python);
    linked.into_iter().chain(python).collect()
}

/// A runtime that the command line names, `NAME=COMMAND`; it takes part in every task.
///
/// # Errors
/// When there is no name or no command.
pub(super) fn further(text: &str) -> Result<Runtime, String> {
    let (name, command) = text.split_once('=').ok_or("expected NAME=COMMAND")?;
    let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if name.is_empty() || command.is_empty() {
        return Err("expected NAME=COMMAND".to_owned());
    }
    Ok(Runtime { command, threads: true, batches: true, every_task: true, quick: true, ..Runtime::named(name) })
}
