//! SD-card images: a boot partition that any PC can edit, and a data partition.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args as ClapArgs;

use crate::debian::{Archive, Kernel};
use crate::{dist, initramfs, modules, root, run as run_command, work_folder};

/// Make a bootable SD-card image, to be written with dd
///
/// Debian's arm64 kernel, and for a Raspberry Pi its firmware, are fetched; they are not part of this project.
#[derive(ClapArgs)]
pub struct Args {
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

const OPTIONS: &str = include_str!("../guest/dyn-perceiver.txt");
const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// Boot partition: firmware, kernel, initramfs and room to edit.
const BOOT_MIB: u64 = 192;
/// With the megabyte before the boot partition the card is 256 MiB: an emulated SD card must be a power of two.
const DATA_MIB: u64 = 63;

/// What an image of a board needs beside the kernel.
struct Layout {
    id: &'static str,
    /// Loaded at the start, where the kernel does not have them built in.
    modules: &'static [&'static str],
    /// Not loaded, but at hand.
    spare: &'static [&'static str],
    /// Device trees below the kernel's folder.
    device_trees: &'static [&'static str],
    /// Whether the Raspberry Pi's firmware starts the board.
    firmware: bool,
}

const CARD: [&str; 5] = ["vfat", "nls_cp437", "nls_ascii", "ext4", "crc32c_generic"];
/// SD hosts and the regulators of their cards, I2C, watchdog, USB hosts and cameras, temperature and clock.
const PI: &[&str] = &[
    "fixed",
    "gpio_regulator",
    "mmc_block",
    "bcm2835",
    "sdhci_iproc",
    "i2c_bcm2835",
    "i2c_dev",
    "bcm2835_wdt",
    "reset_raspberrypi",
    "xhci_pci",
    "dwc2",
    "uvcvideo",
    "bcm2711_thermal",
    "bcm2835_thermal",
    "raspberrypi_cpufreq",
];
const LAYOUTS: [Layout; 4] = [
    Layout {
        id: "qemu-virt",
        modules: &["virtio_pci", "virtio_mmio", "virtio_blk", "i2c_dev"],
        spare: &["vivid"],
        device_trees: &[],
        firmware: false,
    },
    Layout {
        id: "raspberry-pi-zero-2-w",
        modules: PI,
        spare: &["vivid"],
        device_trees: &["broadcom/bcm2837-rpi-zero-2-w.dtb"],
        firmware: true,
    },
    Layout {
        id: "raspberry-pi-3",
        modules: PI,
        spare: &["vivid"],
        device_trees: &["broadcom/bcm2837-rpi-3-b.dtb", "broadcom/bcm2837-rpi-3-b-plus.dtb"],
        firmware: true,
    },
    Layout {
        id: "raspberry-pi-4",
        modules: PI,
        spare: &["vivid"],
        device_trees: &["broadcom/bcm2711-rpi-4-b.dtb"],
        firmware: true,
    },
];

/// The parts of an image, which an emulator can also take apart from it.
pub struct Parts {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// Modules that lie in it to be loaded by hand, dependencies first.
    pub spare: Vec<PathBuf>,
    /// Device trees of the boards that it starts.
    pub device_trees: Vec<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let program = match &args.binary {
        Some(program) => program.clone(),
        None => dist::build("aarch64-unknown-linux-gnu")?,
    };
    make(&args.board, &args.output, &program, args.model.as_deref(), OPTIONS)?;
    println!(
        "{}: write it with dd bs=4M conv=fsync, then edit dyn-perceiver.txt on its boot partition",
        args.output.display()
    );
    Ok(())
}

/// Makes the image of `board` at `output`.
pub fn make(board: &str, output: &Path, program: &Path, model: Option<&Path>, options: &str) -> Result<Parts> {
    let known = LAYOUTS.iter().map(|layout| layout.id).collect::<Vec<_>>().join(", ");
    let Some(layout) = LAYOUTS.iter().find(|layout| layout.id == board) else {
        bail!("--board {board}: images are made for {known}");
    };
    let work = work_folder(board)?;
    let archive = Archive::open(&work_folder("debian")?)?;
    let kernel = Kernel::fetch(&archive)?;
    let names: Vec<_> = layout.modules.iter().chain(&CARD).copied().collect();
    let spare = modules::resolve(&kernel.modules, layout.spare)?;
    let shipped = root().join("models/pretrained/fashion-mnist/model.onnx");
    let root = initramfs::build(&initramfs::Contents {
        busybox: &archive.unpack("busybox-static")?.join("bin/busybox"),
        program,
        model: model.unwrap_or(&shipped),
        modules: &modules::resolve(&kernel.modules, &modules::present(&kernel.modules, &names)?)?,
        spare: &spare,
    })?;
    let initrd = work.join("initrd.gz");
    std::fs::write(&initrd, &root).with_context(|| initrd.display().to_string())?;

    let mut files = vec![
        ("dyn-perceiver.txt".to_owned(), options.as_bytes().to_vec()),
        ("initrd.gz".to_owned(), root),
        ("vmlinuz".to_owned(), read(&kernel.image)?),
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
    write_card(&partial, &work.join("data.ext4"), &files)?;
    std::fs::rename(&partial, output).with_context(|| output.display().to_string())?;
    Ok(Parts { kernel: kernel.image, initrd, spare, device_trees })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// The Raspberry Pi's firmware and its settings.
fn firmware(archive: &Archive) -> Result<Vec<(String, Vec<u8>)>> {
    const CONFIG: &str = "arm_64bit=1\nenable_uart=1\nkernel=vmlinuz\ninitramfs initrd.gz followkernel\n\
                          dtparam=i2c_arm=on\ndisable_splash=1\n";
    const COMMAND_LINE: &str = "console=ttyAMA0,115200 console=ttyS1,115200 console=tty1 quiet panic=10\n";
    let folder = archive.unpack_any("raspi-firmware")?.join("usr/lib/raspi-firmware");
    let mut files = vec![("config.txt".to_owned(), CONFIG.into()), ("cmdline.txt".to_owned(), COMMAND_LINE.into())];
    for name in ["bootcode.bin", "fixup.dat", "fixup4.dat", "start.elf", "start4.elf"] {
        files.push((name.to_owned(), read(&folder.join(name))?));
    }
    Ok(files)
}

/// Writes partition table, boot partition and data partition.
fn write_card(card: &Path, data: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let mut disk = File::options().read(true).write(true).create(true).truncate(true).open(card)?;
    let (boot, data_start) = (MIB, MIB * (1 + BOOT_MIB));
    disk.set_len(data_start + MIB * DATA_MIB)?;
    // 0x0c: FAT32 by block number; 0x83: Linux.
    disk.write_all(&partition_table(&[(0x0c, boot, MIB * BOOT_MIB), (0x83, data_start, MIB * DATA_MIB)])?)?;

    let mut part = Part { disk: disk.try_clone()?, start: boot, length: MIB * BOOT_MIB, place: 0 };
    let options = fatfs::FormatVolumeOptions::new().fat_type(fatfs::FatType::Fat32).volume_label(*b"DPBOOT     ");
    fatfs::format_volume(&mut part, options)?;
    let system = fatfs::FileSystem::new(part, fatfs::FsOptions::new())?;
    for (name, contents) in files {
        let mut file = system.root_dir().create_file(name)?;
        file.write_all(contents).with_context(|| format!("{name}: does not fit into the boot partition"))?;
    }
    system.unmount()?;

    let _ = std::fs::remove_file(data);
    File::create(data)?.set_len(MIB * DATA_MIB)?;
    run_command(Command::new("/sbin/mke2fs").args(["-q", "-t", "ext4", "-L", "DPDATA"]).arg(data))
        .context("needs mke2fs (Debian's e2fsprogs)")?;
    disk.seek(SeekFrom::Start(data_start))?;
    io::copy(&mut File::open(data)?, &mut disk)?;
    disk.sync_all()?;
    Ok(())
}

/// A partition table with entries of kind, start and length in bytes.
fn partition_table(partitions: &[(u8, u64, u64)]) -> Result<[u8; SECTOR as usize]> {
    let mut table = [0; SECTOR as usize];
    // An identity, so that the kernel can name partitions by it.
    table[440..444].copy_from_slice(b"dynp");
    for (i, &(kind, start, length)) in partitions.iter().enumerate() {
        let entry = &mut table[446 + 16 * i..462 + 16 * i];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&u32::try_from(start / SECTOR)?.to_le_bytes());
        entry[12..16].copy_from_slice(&u32::try_from(length / SECTOR)?.to_le_bytes());
    }
    table[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(table)
}

/// A stretch of a file as a disk of its own.
struct Part {
    disk: File,
    start: u64,
    length: u64,
    place: u64,
}

impl Part {
    /// Moves the file to the place, and returns how much of `wanted` bytes is left from there.
    fn at(&mut self, wanted: usize) -> io::Result<usize> {
        self.disk.seek(SeekFrom::Start(self.start + self.place))?;
        let left = usize::try_from(self.length.saturating_sub(self.place)).unwrap_or(usize::MAX);
        Ok(wanted.min(left))
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.at(buffer.len())?;
        let count = self.disk.read(&mut buffer[..count])?;
        self.place += count as u64;
        Ok(count)
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.at(bytes.len())?;
        let count = self.disk.write(&bytes[..count])?;
        self.place += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.place.checked_add_signed(offset),
        };
        self.place = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_both_partitions_and_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let card = folder.path().join("card.img");
        let big = vec![7; 3 << 20];
        let files = [("dyn-perceiver.txt".to_owned(), OPTIONS.into()), ("initrd.gz".to_owned(), big.clone())];
        if let Err(error) = write_card(&card, &folder.path().join("data"), &files) {
            assert!(format!("{error:#}").contains("mke2fs"), "{error:#}");
            eprintln!("mke2fs is not installed: the data partition was not made");
            return;
        }
        let mut disk = File::open(&card).unwrap();
        assert_eq!(disk.metadata().unwrap().len(), MIB * (1 + BOOT_MIB + DATA_MIB));
        let mut table = [0; 512];
        disk.read_exact(&mut table).unwrap();
        assert_eq!((table[450], table[466], &table[510..]), (0x0c, 0x83, &[0x55, 0xaa][..]));
        let part = Part { disk: disk.try_clone().unwrap(), start: MIB, length: MIB * BOOT_MIB, place: 0 };
        let system = fatfs::FileSystem::new(part, fatfs::FsOptions::new()).unwrap();
        assert_eq!(system.volume_label(), "DPBOOT");
        assert_eq!(system.fat_type(), fatfs::FatType::Fat32);
        let mut found = Vec::new();
        system.root_dir().open_file("initrd.gz").unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found, big);
        // The magic number of ext4 in its superblock, and the label.
        let mut block = [0; 136];
        disk.seek(SeekFrom::Start(MIB * (1 + BOOT_MIB) + 1024)).unwrap();
        disk.read_exact(&mut block).unwrap();
        assert_eq!((&block[56..58], &block[120..126]), (&[0x53, 0xef][..], &b"DPDATA"[..]));
    }
}
