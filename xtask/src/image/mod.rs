//! SD-card images: a boot partition that any PC can edit, and a data partition.

mod card;
mod layouts;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;

use crate::debian::{Archive, Kernel};
use crate::dist::SHIPPED;
use crate::elf::{Machine, Program};
use crate::{WrongInput, dist, initramfs, modules, root, work_folder};
use layouts::{CARD, LAYOUTS};

/// Make a bootable SD-card image, to be written with dd
///
/// Debian's arm64 kernel, and for a Raspberry Pi its firmware, are fetched; they are not part of this project.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The board: raspberry-pi-zero-2-w, raspberry-pi-3, raspberry-pi-4 or qemu-virt
    #[arg(long, value_name = "ID")]
    board: String,
    /// The image
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Statically linked program for aarch64 Linux [default: it is built]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Model to classify with [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

const OPTIONS: &str = include_str!("../../guest/dyn-perceiver.txt");
const SETTINGS: &str = include_str!("../../guest/dyn-perceiver.toml");

/// Files of the boot partition: the program, and the model, whether it is ONNX or a bundle.
const PROGRAM: &str = "dyn-perceiver";
const MODEL: &str = "model";
/// What every kernel is told: to say little, and to leave out the tests of its cryptography, which take half a second of each start and
/// nothing here uses.
const COMMAND_LINE: &str = "quiet cryptomgr.notests";

/// The parts of an image, which an emulator can also take apart from it.
pub(crate) struct Parts {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// What the kernel is told, beside its console and what it does after a panic.
    pub command_line: &'static str,
    /// Modules that lie in it to be loaded by hand, dependencies first.
    pub spare: Vec<PathBuf>,
    /// Device trees of the boards that it starts.
    pub device_trees: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let program = match &args.binary {
        Some(program) => program.clone(),
        None => dist::build("aarch64-unknown-linux-gnu")?,
    };
    make(&args.board, &args.output, &program, args.model.as_deref(), OPTIONS)?;
    println!(
        "{}: write it with dd bs=4M conv=fsync, then edit dyn-perceiver.toml on its boot partition",
        args.output.display()
    );
    Ok(())
}

/// Makes the image of `board` at `output`.
pub(crate) fn make(board: &str, output: &Path, program: &Path, model: Option<&Path>, options: &str) -> Result<Parts> {
    let known = LAYOUTS.iter().map(|layout| layout.id).collect::<Vec<_>>().join(", ");
    let Some(layout) = LAYOUTS.iter().find(|layout| layout.id == board) else {
        return Err(WrongInput(format!("--board {board}: images are made for {known}")).into());
    };
    // Its root has neither libraries nor a linker for them.
    Program::read(program)?.of(Machine::Aarch64)?.linked_statically()?;
    let work = work_folder(board)?;
    let archive = Archive::open(&work_folder("debian")?)?;
    let kernel = Kernel::fetch(&archive)?;
    let names: Vec<_> = layout.modules.iter().chain(&CARD).copied().collect();
    let spare = modules::resolve(&kernel.modules, layout.spare)?;
    let shipped = root().join(SHIPPED).join("model.onnx");
    let root = initramfs::build(&initramfs::Contents {
        busybox: &archive.unpack("busybox-static")?.join("bin/busybox"),
        program: &format!("/boot/{PROGRAM}"),
        model: &format!("/boot/{MODEL}"),
        modules: &modules::resolve(&kernel.modules, &modules::present(&kernel.modules, &names)?)?,
        spare: &spare,
    })?;
    let initrd = work.join("initrd.gz");
    std::fs::write(&initrd, &root).with_context(|| initrd.display().to_string())?;

    let mut files = vec![
        ("dyn-perceiver.toml".to_owned(), SETTINGS.into()),
        ("dyn-perceiver.txt".to_owned(), options.as_bytes().to_vec()),
        ("initrd.gz".to_owned(), root),
        ("vmlinuz".to_owned(), read(&kernel.image)?),
        (PROGRAM.to_owned(), read(program)?),
        (MODEL.to_owned(), read(model.unwrap_or(&shipped))?),
    ];
    let device_trees: Vec<_> = layout.device_trees.iter().map(|tree| kernel.device_trees.join(tree)).collect();
    for tree in &device_trees {
        let name = tree.file_name().context("a device tree without a name")?.to_string_lossy();
        files.push((name.into_owned(), read(tree)?));
    }
    if layout.firmware {
        files.extend(firmware(&archive)?);
    }
    let partial = output.with_extension("partial");
    card::write(&partial, &work.join("data.ext4"), &files)?;
    std::fs::rename(&partial, output).with_context(|| output.display().to_string())?;
    Ok(Parts { kernel: kernel.image, initrd, command_line: COMMAND_LINE, spare, device_trees })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// The Raspberry Pi's firmware and its settings.
fn firmware(archive: &Archive) -> Result<Vec<(String, Vec<u8>)>> {
    const CONFIG: &str = "arm_64bit=1\nenable_uart=1\nkernel=vmlinuz\ninitramfs initrd.gz followkernel\n\
                          dtparam=i2c_arm=on\ndisable_splash=1\n";
    const CONSOLES: &str = "console=ttyAMA0,115200 console=ttyS1,115200 console=tty1";
    let folder = archive.unpack_any("raspi-firmware")?.join("usr/lib/raspi-firmware");
    let command_line = format!("{CONSOLES} {COMMAND_LINE} panic=10\n");
    let mut files = vec![("config.txt".to_owned(), CONFIG.into()), ("cmdline.txt".to_owned(), command_line.into())];
    for name in ["bootcode.bin", "fixup.dat", "fixup4.dat", "start.elf", "start4.elf"] {
        files.push((name.to_owned(), read(&folder.join(name))?));
    }
    Ok(files)
}
