"""Flash and RAM of a firmware, from the section headers of its ELF file."""

import struct
import sys

SHF_WRITE, SHF_ALLOC, SHT_NOBITS = 1, 2, 8


def main(path: str) -> None:
    with open(path, "rb") as file:
        elf = file.read()
    assert elf[:6] == b"\x7fELF\x01\x01", "expected a little-endian 32-bit ELF file"
    (offset,) = struct.unpack_from("<I", elf, 0x20)
    size, count = struct.unpack_from("<HH", elf, 0x2E)
    flash = ram = 0
    for index in range(count):
        _, kind, flags, _, _, length = struct.unpack_from("<6I", elf, offset + index * size)
        if flags & SHF_ALLOC:
            if kind != SHT_NOBITS:
                flash += length
            if flags & SHF_WRITE:
                ram += length
    print(f"flash {flash} bytes, static RAM {ram} bytes")


main(sys.argv[1])
