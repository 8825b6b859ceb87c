//! The card itself: a partition table, a FAT partition with files, and an ext4 partition for data.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run as run_command;

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// Boot partition: firmware, kernel, initramfs, program, model and room to edit.
const BOOT_MIB: u64 = 192;
/// With the megabyte before the boot partition the card is 256 MiB: an emulated SD card must be a power of two.
const DATA_MIB: u64 = 63;

/// Writes partition table, boot partition and data partition.
pub(super) fn write(card: &Path, data: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
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
        let files = [("dyn-perceiver.txt".to_owned(), b"OPTIONS=''\n".to_vec()), ("initrd.gz".to_owned(), big.clone())];
        if let Err(error) = write(&card, &folder.path().join("data"), &files) {
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
