//! What kind of machine a program is for, from the header of its file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::WrongInput;

/// Machines that packages are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    Aarch64,
    X86_64,
}

impl Machine {
    /// The machine of one of Rust's targets.
    pub(crate) fn of(target: &str) -> Option<Self> {
        match target.split('-').next() {
            Some("aarch64") => Some(Machine::Aarch64),
            Some("x86_64") => Some(Machine::X86_64),
            _ => None,
        }
    }

    /// Debian's name of it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Machine::Aarch64 => "arm64",
            Machine::X86_64 => "amd64",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Machine::Aarch64 => "aarch64",
            Machine::X86_64 => "x86_64",
        }
    }
}

/// A program file whose header has been read.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    bytes: Vec<u8>,
    /// ELF's number of the machine.
    machine: u16,
    /// Whether the file asks for an interpreter, the dynamic linker.
    dynamic: bool,
}

impl Program {
    /// Reads a 64-bit little-endian ELF file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let wrong = || WrongInput(format!("{}: no 64-bit program for Linux", path.display()));
        // Class 2: 64 bits. Data 1: little-endian.
        if !bytes.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
            return Err(wrong().into());
        }
        let machine = number::<2>(&bytes, 18).ok_or_else(wrong)? as u16;
        let dynamic = asks_for_interpreter(&bytes).ok_or_else(wrong)?;
        Ok(Self { path: path.to_owned(), bytes, machine, dynamic })
    }

    /// The program, if it is one for `machine`.
    pub(crate) fn of(self, machine: Machine) -> Result<Self> {
        let found = match self.machine {
            183 => "aarch64".to_owned(),
            62 => "x86_64".to_owned(),
            other => format!("a machine of ELF's number {other}"),
        };
        if found == machine.name() {
            return Ok(self);
        }
        let expected = machine.name();
        let text = format!("{}: a program for {found}, expected one for {expected}", self.path.display());
        Err(WrongInput(text).into())
    }

    /// The program, if it needs no shared libraries.
    pub(crate) fn linked_statically(self) -> Result<Self> {
        if !self.dynamic {
            return Ok(self);
        }
        let text = format!("{}: needs shared libraries, expected a statically linked program", self.path.display());
        Err(WrongInput(text).into())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A little-endian number of `N` bytes, 8 at most.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(N)?)?;
    Some(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// Whether a segment of kind `PT_INTERP` is there; `None` for a file that ends within its table of segments.
fn asks_for_interpreter(bytes: &[u8]) -> Option<bool> {
    const PT_INTERP: u64 = 3;
    let start = usize::try_from(number::<8>(bytes, 32)?).ok()?;
    let (size, count) = (number::<2>(bytes, 54)? as usize, number::<2>(bytes, 56)? as usize);
    let mut found = false;
    for segment in 0..count {
        found |= number::<4>(bytes, start.checked_add(segment * size)?)? == PT_INTERP;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one segment of a kind.
    fn elf(machine: u8, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 120];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        bytes[18] = machine;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = kind;
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Program> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, bytes).unwrap();
        Program::read(&path)
    }

    #[test]
    fn programs_of_another_machine_are_refused() {
        assert!(read(&elf(183, 1)).unwrap().of(Machine::Aarch64).is_ok());
        let error = read(&elf(62, 1)).unwrap().of(Machine::Aarch64).unwrap_err();
        assert!(error.is::<WrongInput>());
        assert!(error.to_string().ends_with("program: a program for x86_64, expected one for aarch64"), "{error}");
        assert!(read(&elf(40, 1)).unwrap().of(Machine::X86_64).unwrap_err().to_string().contains("number 40"));
    }

    #[test]
    fn programs_that_need_libraries_are_told_from_static_ones() {
        assert!(read(&elf(183, 1)).unwrap().linked_statically().is_ok());
        let error = read(&elf(183, 3)).unwrap().linked_statically().unwrap_err();
        assert!(error.is::<WrongInput>() && error.to_string().contains("shared libraries"), "{error}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x01\x01", &elf(183, 1)[..60], &elf(183, 1)[..66]] {
            assert!(read(bytes).unwrap_err().is::<WrongInput>(), "{bytes:?}");
        }
    }
}
