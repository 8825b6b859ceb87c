//! Names of Python objects in a pickle: the ones that weights are made of, the inert ones, and the refused ones.

use crate::weights::element::Element;

/// Index of an object in [`Pickle`](super::Pickle).
pub(crate) type Id = u32;

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name {
    /// `dict` and classes like it.
    Dict,
    RebuildTensor,
    RebuildParameter,
    /// A tensor with attributes of its own, made by calling its first argument with its third.
    RebuildFromType,
    StorageType(Element),
    /// Size of a tensor: a tuple by another name.
    Size,
    /// Anything else, by the texts of its module and name. Never looked at.
    Foreign {
        module: Id,
        name: Id,
    },
}

/// The names that weights are made of.
pub(super) fn known(module: &str, name: &str) -> Option<Name> {
    let element = match (module, name) {
        ("torch", "DoubleStorage") => Element::F64,
        ("torch", "FloatStorage") => Element::F32,
        ("torch", "HalfStorage") => Element::F16,
        ("torch", "BFloat16Storage") => Element::Bf16,
        ("torch", "LongStorage") => Element::I64,
        ("torch", "IntStorage") => Element::I32,
        ("torch", "ShortStorage") => Element::I16,
        ("torch", "CharStorage") => Element::I8,
        ("torch", "ByteStorage") => Element::U8,
        ("torch", "BoolStorage") => Element::Bool,
        ("collections", "OrderedDict" | "defaultdict") | ("builtins" | "__builtin__", "dict") => {
            return Some(Name::Dict);
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => return Some(Name::RebuildTensor),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            return Some(Name::RebuildParameter);
        }
        ("torch._tensor", "_rebuild_from_type_v2") => return Some(Name::RebuildFromType),
        ("torch", "Size") => return Some(Name::Size),
        _ => return None,
    };
    Some(Name::StorageType(element))
}

/// Whether a name belongs to what pickles call to run commands, load code or reach the network. Here nothing would be
/// called; but whoever made such a file meant it to be loaded elsewhere, and the reader ought to know.
pub(super) fn is_forbidden(module: &str, name: &str) -> bool {
    const PACKAGES: [&str; 42] = [
        "_osx_support",
        "_pickle",
        "_posixsubprocess",
        "aiohttp",
        "asyncio",
        "bdb",
        "cProfile",
        "codeop",
        "cPickle",
        "ctypes",
        "dill",
        "distutils",
        "ensurepip",
        "ftplib",
        "http",
        "httplib",
        "idlelib",
        "imp",
        "importlib",
        "joblib",
        "marshal",
        "multiprocessing",
        "nt",
        "os",
        "pdb",
        "pickle",
        "pip",
        "posix",
        "pty",
        "requests",
        "runpy",
        "setuptools",
        "shutil",
        "signal",
        "smtplib",
        "socket",
        "subprocess",
        "sys",
        "timeit",
        "urllib",
        "urllib2",
        "webbrowser",
    ];
    const TORCH: [&str; 3] = ["torch.hub", "torch.serialization", "torch.utils.cpp_extension"];
    const BUILTINS: [&str; 22] = [
        "__import__",
        "apply",
        "breakpoint",
        "compile",
        "delattr",
        "eval",
        "exec",
        "execfile",
        "exit",
        "file",
        "filter",
        "getattr",
        "globals",
        "help",
        "input",
        "locals",
        "map",
        "open",
        "quit",
        "raw_input",
        "setattr",
        "vars",
    ];
    let package = module.split('.').next().unwrap_or_default();
    let within =
        |parent: &str| module.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match module {
        "builtins" | "__builtin__" => BUILTINS.contains(&name),
        "code" => ["InteractiveConsole", "InteractiveInterpreter", "interact"].contains(&name),
        "commands" => ["getoutput", "getstatusoutput"].contains(&name),
        "operator" | "_operator" => ["attrgetter", "itemgetter", "methodcaller"].contains(&name),
        "types" => ["CodeType", "FunctionType", "LambdaType"].contains(&name),
        "torch" => ["load", "compile"].contains(&name),
        // Types and devices of storages that are none of the ten above are data.
        "torch.storage" => !name.ends_with("Storage"),
        "numpy.testing._private.utils" => name == "runstring",
        _ => PACKAGES.contains(&package) || TORCH.iter().any(|parent| within(parent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_run_something_are_forbidden() {
        for (module, name) in [
            ("posix", "system"),
            ("os", "popen"),
            ("os.path", "join"),
            ("builtins", "eval"),
            ("__builtin__", "getattr"),
            ("importlib.util", "spec_from_file_location"),
            ("torch.hub", "load"),
            ("torch.storage", "_load_from_bytes"),
            ("torch.utils.cpp_extension", "load"),
            ("subprocess", "Popen"),
            ("operator", "attrgetter"),
        ] {
            assert!(is_forbidden(module, name), "{module}.{name}");
            assert!(known(module, name).is_none());
        }
    }

    #[test]
    fn names_that_training_scripts_save_are_not_forbidden() {
        for (module, name) in [
            ("argparse", "Namespace"),
            ("builtins", "set"),
            ("__builtin__", "set"),
            ("collections", "Counter"),
            ("datetime", "datetime"),
            ("decimal", "Decimal"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("oslo.config", "Options"),
            ("pathlib", "PosixPath"),
            ("torch", "device"),
            ("torch.optim.lr_scheduler", "StepLR"),
            ("torch.storage", "UntypedStorage"),
            ("uuid", "UUID"),
            ("yacs.config", "CfgNode"),
        ] {
            assert!(!is_forbidden(module, name), "{module}.{name}");
        }
    }
}
