//! What the innermost loops of the kernels should take on a core that is not at hand, by llvm-mca's model of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args as ClapArgs;
use serde_json::json;

/// Predict the cycles of the kernels' inner loops with llvm-mca
///
/// For each kernel of an aarch64 program, the loop with the most multiply-adds: its instructions, and the cycles of one
/// iteration beside what the multiply-adds alone would take. Memory is modelled as first-level cache that is always hit.
/// Needs Debian's llvm-19 and binutils-aarch64-linux-gnu; LLVM 16 and before have the pipeline of a Cortex-A57 for all of Arm's cores
/// from it to Neoverse N1.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The program, built for aarch64 with its symbols
    #[arg(long, value_name = "FILE")]
    binary: PathBuf,
    /// The core, by LLVM's name for it
    #[arg(long, value_name = "NAME", default_value = "cortex-a72")]
    cpu: String,
    /// The model's program
    #[arg(long, value_name = "PROGRAM", default_value = "llvm-mca-19")]
    llvm_mca: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const MODULE: &str = "dyn_perceiver_kernels::";
/// Loops of fewer multiply-adds are ends and borders.
const LEAST: usize = 8;
const ITERATIONS: usize = 200;

/// A loop without branches in it.
#[derive(Clone, Debug, PartialEq)]
struct Loop {
    /// As the assembler takes them, the branch at the end left out.
    instructions: Vec<String>,
    multiply_adds: usize,
}

impl Loop {
    fn is_of_bytes(&self) -> bool {
        self.instructions.iter().any(|line| is_multiply_add(line) && !line.starts_with("fmla"))
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.binary.exists(), "{}: no such file", args.binary.display());
    let mut rows = vec![];
    for (name, ranges) in kernels(&args.binary)? {
        // Functions of one name differ in the rows and columns of their tiles.
        let mut found = vec![];
        for range in ranges {
            found.extend(loops(&disassemble(&args.binary, range)?));
        }
        // In a kernel for bytes, a loop of floats is the activation behind it.
        let inner = found.into_iter().max_by_key(|l| (l.is_of_bytes(), l.multiply_adds));
        let Some(inner) = inner.filter(|l| l.multiply_adds >= LEAST) else { continue };
        // Without them, the core does not run the kernel.
        if lacks_instructions(args, &inner.instructions)? {
            continue;
        }
        let cycles = cycles(args, &inner.instructions)?;
        let only: Vec<String> = inner.instructions.iter().filter(|line| is_multiply_add(line)).cloned().collect();
        rows.push((name, inner.instructions.len() + 1, inner.multiply_adds, cycles, cycles_limit(args, &only)?));
    }
    ensure!(!rows.is_empty(), "{}: no kernel has a loop of vector multiply-adds", args.binary.display());
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, instructions, fma, cycles, limit)| {
                json!({ "kernel": name, "cpu": args.cpu, "instructions": instructions, "multiply_adds": fma,
                        "cycles": cycles, "limit_cycles": limit })
            })
            .collect();
        println!("{}", json!(rows));
        return Ok(());
    }
    println!("| kernel | instructions | multiply-adds | cycles, {} | limit | ratio |", args.cpu);
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, instructions, fma, cycles, limit) in rows {
        println!("| {name} | {instructions} | {fma} | {cycles:.1} | {limit:.1} | {:.2} |", cycles / limit);
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let text = format!("{command:?}");
    let done = command.output().with_context(|| text.clone())?;
    ensure!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The kernels' functions and where those of each name are.
fn kernels(binary: &Path) -> Result<BTreeMap<String, Vec<[u64; 2]>>> {
    let mut nm = Command::new("aarch64-linux-gnu-nm");
    let text = output(nm.args(["--demangle", "--print-size"]).arg(binary))?;
    let symbol = |line: &str| -> Option<(String, [u64; 2])> {
        let mut words = line.splitn(4, ' ');
        let [start, size] = [words.next()?, words.next()?].map(|word| u64::from_str_radix(word, 16));
        let (_, name) = (words.next()?, words.next()?.strip_prefix(MODULE)?);
        let (start, size) = (start.ok()?, size.ok()?);
        Some((name.to_owned(), [start, start + size]))
    };
    let mut kernels = BTreeMap::<String, Vec<_>>::new();
    for (name, range) in text.lines().filter_map(symbol) {
        kernels.entry(name).or_default().push(range);
    }
    Ok(kernels)
}

fn disassemble(binary: &Path, [start, stop]: [u64; 2]) -> Result<String> {
    let mut objdump = Command::new("aarch64-linux-gnu-objdump");
    objdump.args(["--disassemble", "--no-show-raw-insn"]);
    output(objdump.arg(format!("--start-address={start}")).arg(format!("--stop-address={stop}")).arg(binary))
}

/// Whether an instruction multiplies whole vectors of f32, halves or bytes, and adds.
fn is_multiply_add(instruction: &str) -> bool {
    let Some((name, operands)) = instruction.split_once('\t') else { return false };
    match name {
        "fmla" => operands.contains(".4s") || operands.contains(".8h"),
        "sdot" | "smull" | "smull2" | "smlal" | "smlal2" => true,
        _ => false,
    }
}

/// Loops that end with a branch back to their beginning and have no other branch.
fn loops(disassembly: &str) -> Vec<Loop> {
    let lines: Vec<(u64, &str)> = disassembly
        .lines()
        .filter_map(|line| {
            let (address, instruction) = line.trim_start().split_once(":\t")?;
            let instruction = instruction.split("//").next()?.trim();
            Some((u64::from_str_radix(address, 16).ok()?, instruction))
        })
        .collect();
    let mut found = vec![];
    for (end, &(address, instruction)) in lines.iter().enumerate() {
        let Some(target) = target(instruction).filter(|target| *target < address) else { continue };
        let Some(start) = lines.iter().position(|(address, _)| *address == target) else { continue };
        let body = &lines[start..end];
        if body.iter().any(|(_, instruction)| is_branch(instruction)) {
            continue;
        }
        let instructions: Vec<String> = body.iter().map(|(_, instruction)| (*instruction).to_owned()).collect();
        let multiply_adds = instructions.iter().filter(|line| is_multiply_add(line)).count();
        found.push(Loop { instructions, multiply_adds });
    }
    found
}

fn is_branch(instruction: &str) -> bool {
    let name = instruction.split_whitespace().next().unwrap_or_default();
    name == "b" || name.starts_with("b.") || ["bl", "blr", "br", "ret", "cbz", "cbnz", "tbz", "tbnz"].contains(&name)
}

/// Where a branch goes.
fn target(instruction: &str) -> Option<u64> {
    let operands = is_branch(instruction).then(|| instruction.split_once(char::is_whitespace))??.1;
    let address = operands.split(" <").next()?.rsplit([',', ' ']).next()?;
    u64::from_str_radix(address.trim().trim_start_matches("0x"), 16).ok()
}

fn run_mca(args: &Args, instructions: &[String]) -> Result<Output> {
    let mut command = Command::new(&args.llvm_mca);
    command.args(["-mtriple=aarch64-linux-gnu", "-instruction-info=0", "-resource-pressure=0"]);
    command.arg(format!("-mcpu={}", args.cpu)).arg(format!("-iterations={ITERATIONS}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{} (apt install llvm-19)", args.llvm_mca.display()))?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all((instructions.join("\n") + "\n").as_bytes())?;
    drop(input);
    Ok(child.wait_with_output()?)
}

fn mca(args: &Args, instructions: &[String]) -> Result<String> {
    let done = run_mca(args, instructions)?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "llvm-mca -mcpu={}: {}", args.cpu, said.lines().next().unwrap_or_default());
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Whether some of the instructions are of an extension that the core does not have.
fn lacks_instructions(args: &Args, instructions: &[String]) -> Result<bool> {
    Ok(String::from_utf8_lossy(&run_mca(args, instructions)?.stderr).contains("instruction requires:"))
}

fn value(report: &str, key: &str) -> Result<f64> {
    let line = report.lines().find_map(|line| line.strip_prefix(key));
    let Some(value) = line.and_then(|value| value.trim().parse().ok()) else { bail!("llvm-mca says no {key:?}") };
    Ok(value)
}

/// Cycles of one iteration.
fn cycles(args: &Args, instructions: &[String]) -> Result<f64> {
    Ok(value(&mca(args, instructions)?, "Total Cycles:")? / ITERATIONS as f64)
}

/// Cycles that the units which execute these instructions are busy.
fn cycles_limit(args: &Args, instructions: &[String]) -> Result<f64> {
    value(&mca(args, instructions)?, "Block RThroughput:")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
0000000000001000 <kernel>:
    1000:\tmov\tx0, #0x4                   \t// #4
    1004:\tldr\tq0, [x1], #16
    1008:\tfmla\tv1.4s, v0.4s, v2.s[0]
    100c:\tsubs\tx0, x0, #0x1
    1010:\tb.ne\t1004 <kernel+0x4>  // b.any
    1014:\tldr\tq0, [x1]
    1018:\tcbz\tx0, 1020 <kernel+0x20>
    101c:\tfmla\tv1.4s, v0.4s, v2.4s
    1020:\tcbnz\tx2, 1014 <kernel+0x14>
    1024:\tret
";

    #[test]
    fn loops_without_branches_are_found() {
        let found = loops(TEXT);
        let instructions = ["ldr\tq0, [x1], #16", "fmla\tv1.4s, v0.4s, v2.s[0]", "subs\tx0, x0, #0x1"];
        let expected = Loop { instructions: instructions.map(str::to_owned).to_vec(), multiply_adds: 1 };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn products_of_every_precision_are_counted() {
        let counted = ["fmla\tv1.4s, v0.4s, v2.s[0]", "fmla\tv1.8h, v0.8h, v2.h[7]", "sdot\tv1.4s, v0.16b, v2.4b[1]"];
        assert!(counted.into_iter().all(is_multiply_add));
        let others = ["fmul\tv1.4s, v0.4s, v2.s[0]", "fmla\tv1.2s, v0.2s, v2.2s", "sadalp\tv1.4s, v30.8h", "ret"];
        assert!(!others.into_iter().any(is_multiply_add));
    }

    #[test]
    fn targets_are_read_from_every_branch() {
        assert_eq!(target("b.ne\t1004 <kernel+0x4>"), Some(0x1004));
        assert_eq!(target("tbz\tw8, #0, 10a0 <kernel>"), Some(0x10a0));
        assert_eq!(target("add\tx0, x0, #0x10"), None);
        assert_eq!(target("ret"), None);
    }
}
