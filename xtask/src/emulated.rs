//! The library's tests for the processors of boards, under user-mode emulation.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args as ClapArgs;
use serde_json::Value;

use crate::{root, work_folder};

/// Build the library's tests for aarch64 and run them on emulated cores
///
/// Needs `rustup target add aarch64-unknown-linux-gnu`, Debian's gcc-aarch64-linux-gnu and libc6-dev-arm64-cross, and
/// qemu-user. Tests of the program are left out: an emulated program cannot start another.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Cores, by the names that QEMU has for them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "cortex-a53,cortex-a72,cortex-a76")]
    cpu: Vec<String>,
    /// The cargo that builds for aarch64 [default: this one]
    #[arg(long, value_name = "FILE")]
    cargo: Option<PathBuf>,
    /// The emulator
    #[arg(long, value_name = "FILE", default_value = "qemu-aarch64")]
    qemu: PathBuf,
    /// Folder of the libraries that programs for aarch64 are linked with
    #[arg(long, value_name = "FOLDER", default_value = "/usr/aarch64-linux-gnu")]
    libraries: PathBuf,
    /// End well, and say so, where the emulator is not installed
    #[arg(long)]
    skip_without_qemu: bool,
    /// What the test programs are told, for instance a part of a test's name
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The library's programs of tests; those of the program are not among them.
const TESTS: [&str; 3] = ["it", "processors", "shipped_model"];
/// What a kernel tells of a core: its name in QEMU, its part number, its features. Programs choose kernels by them, and
/// user-mode QEMU before version 9 shows the machine's own file instead.
const CORES: [(&str, &str, &str); 3] = [
    ("cortex-a53", "0xd03", "fp asimd evtstrm crc32 cpuid"),
    ("cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid"),
    ("cortex-a76", "0xd0b", "fp asimd evtstrm crc32 cpuid atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if Command::new(&args.qemu).arg("--version").output().is_err() {
        ensure!(args.skip_without_qemu, "{}: not found (apt install qemu-user)", args.qemu.display());
        println!("emulated tests: skipped, {} is not installed", args.qemu.display());
        return Ok(());
    }
    let programs = build(args)?;
    let mut runs = vec![];
    for cpu in &args.cpu {
        let folder = core(cpu, &args.libraries)?;
        runs.extend(programs.iter().map(|program| (cpu, folder.clone(), program)));
    }
    // Side by side on the host's cores: an emulated program is one thread for most of its time.
    let next = Mutex::new(runs.iter());
    let failed: Vec<_> = std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            loop {
                let Some((cpu, folder, program)) = next.lock().expect("no worker panics").next() else { return Ok(()) };
                println!("{}", emulate(args, cpu, folder, program)?);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("no worker panics").err()).collect()
    });
    failed.into_iter().next().map_or(Ok(()), Err)
}

/// Runs one program of tests on one core; a line that says how it went.
fn emulate(args: &Args, cpu: &str, folder: &Path, program: &Path) -> Result<String> {
    let began = Instant::now();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let mut command = Command::new(&args.qemu);
    command.arg("-cpu").arg(cpu).arg("-L").arg(folder).arg(program).args(&args.options).current_dir(root());
    // Random graphs are as good here as on the host, but each takes tens of times as long.
    command.env("PROPTEST_CASES", "8");
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("{name} on {cpu}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let result = text.lines().find_map(|line| line.strip_prefix("test result: ok. ")).unwrap_or("no result");
    let result = result.split("; finished").next().unwrap_or(result);
    Ok(format!("{cpu} {:>6.1} s  {name}: {result}", began.elapsed().as_secs_f64()))
}

/// Builds the tests and returns their programs.
fn build(args: &Args) -> Result<Vec<PathBuf>> {
    let cargo = args.cargo.clone().or_else(|| std::env::var_os("CARGO").map(PathBuf::from));
    let mut command = Command::new(cargo.unwrap_or_else(|| "cargo".into()));
    // The profile of the program for boards, so that what it needs is built once.
    command.args(["test", "--release", "--no-run", "--package", "dyn-perceiver", "--lib", "--target", TARGET]);
    TESTS.iter().for_each(|test| {
        command.args(["--test", test]);
    });
    command.args(["--message-format", "json-render-diagnostics"]).current_dir(root()).stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}; needs `rustup target add {TARGET}` and a C cross compiler as linker, see docs/boards",
        output.status
    );
    let mut programs: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().filter_map(executable).collect();
    programs.sort();
    ensure!(programs.len() == TESTS.len() + 1, "expected {} test programs, found {programs:?}", TESTS.len() + 1);
    Ok(programs)
}

/// The test program that a message of cargo's tells of.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let test = message["profile"]["test"].as_bool()?;
    message["executable"].as_str().filter(|_| test).map(PathBuf::from)
}

/// A folder that the emulator looks into before the machine's root: the core's `/proc/cpuinfo`, and libraries.
pub(crate) fn core(name: &str, libraries: &Path) -> Result<PathBuf> {
    let Some((_, part, features)) = CORES.iter().find(|(core, ..)| *core == name) else {
        let known: Vec<_> = CORES.iter().map(|(core, ..)| *core).collect();
        bail!("--cpu {name}: known are {}", known.join(", "));
    };
    let folder = work_folder("cores")?.join(name);
    std::fs::create_dir_all(folder.join("proc"))?;
    let cpuinfo = format!(
        "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n\
         CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n"
    );
    std::fs::write(folder.join("proc/cpuinfo"), cpuinfo)?;
    let link = folder.join("lib");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(libraries.join("lib"), &link).with_context(|| link.display().to_string())?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_other_messages() {
        let line = r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/deps/staging-1"}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/t/deps/staging-1")));
        for other in [
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/deps/program-1"}"#,
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":null}"#,
            r#"{"reason":"build-finished","success":true}"#,
            "not JSON",
        ] {
            assert_eq!(executable(other), None, "{other}");
        }
    }

    #[test]
    fn an_unknown_core_is_refused_with_those_known() {
        let error = core("cortex-m4", Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("cortex-m4") && error.contains("cortex-a76"), "{error}");
    }
}
