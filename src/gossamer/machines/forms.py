"""Files that are no program for these machines, recognised by their first bytes.

Sources: the formats' own descriptions; magic numbers as file(1) and the Linux boot protocols
(Documentation/arch/x86/boot.rst, arm64/booting.rst) name them.
"""

from __future__ import annotations

from typing import Final

#: ELF's e_machine.
MACHINES: Final = {
    2: "SPARC", 3: "x86", 4: "68000", 8: "MIPS", 15: "PA-RISC", 18: "SPARC", 20: "PowerPC",
    21: "64-bit PowerPC", 22: "S390", 40: "Arm", 42: "SuperH", 43: "64-bit SPARC", 50: "Itanium",
    62: "x86-64", 183: "Arm64", 243: "RISC-V", 258: "LoongArch",
}  # fmt: skip
#: Offset, bytes, and what the file is.
_MAGIC: Final = (
    (0x202, b"HdrS", "a bzImage, a Linux kernel for x86"),
    (0x24, b"\x18\x28\x6f\x01", "a zImage, a Linux kernel for Arm"),
    (0x38, b"ARM\x64", "an Image, a Linux kernel for Arm64"),
    (0x38, b"RSC\x05", "an Image, a Linux kernel for RISC-V"),
    (0, b"MZ", "a program for EFI or Windows"),
    (0, b"\xfe\xed\xfa\xce", "a Mach-O program; start Mac OS X from a disk"),
    (0, b"\xce\xfa\xed\xfe", "a Mach-O program for a little-endian machine"),
    (0, b"\xcf\xfa\xed\xfe", "a 64-bit Mach-O program for a little-endian machine"),
    (0, b"\xfe\xed\xfa\xcf", "a 64-bit Mach-O program"),
    (0, b"\xca\xfe\xba\xbe", "a Mach-O program for several machines; start Mac OS X from a disk"),
    (0, b"\x01\xdf", "an XCOFF program; start it from a disk"),
    (0, b"\x01\xf7", "a 64-bit XCOFF program"),
    (0, b"\xfd7zXZ\0", "compressed with xz; unpack it"),
    (0, b"BZh", "compressed with bzip2; unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4; unpack it"),
    (0, b"\x02\x21\x4c\x18", "compressed with lz4; unpack it"),
    (0, b"\x5d\0\0", "compressed with lzma; unpack it"),
    (0, b"\x89LZO", "compressed with lzop; unpack it"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"!<arch>\n", "an archive: a library or a Debian package"),
    (257, b"ustar", "a tar archive"),
    (0, b"07070", "a cpio archive; give it to -initrd"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree, or a FIT image"),
    (0, b"QFI\xfb", "a qcow2 image; give it to -hda"),
    (0x8001, b"CD001", "an ISO image; give it to -cdrom"),
    (0, b"ER\0\0", "an image of an Apple disk; give it to -hda or -cdrom"),
    (0, b"ER\x02\0", "an image of an Apple disk; give it to -hda or -cdrom"),
    (1024, b"H+\0\x04", "an image of an HFS+ disk; give it to -hda or -cdrom"),
)
_SAMPLE: Final = 4096
_TEXT: Final = frozenset((*range(0x20, 0x7F), 9, 10, 12, 13))


def refusal(data: bytes) -> str:
    """What a file is that cannot be a program here; empty when it may be one, as raw bytes."""
    for offset, magic, text in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return f"is {text}"
    sample = data[:_SAMPLE]
    if sample and _TEXT.issuperset(sample):
        return "is a text file"
    if sample.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return "is a text file"
    if not any(data):
        return "is nothing but zeros"
    if len(data) < 4 or (len(data) % 4 and len(data) < 64):
        return f"is {len(data)} bytes, which is no program"
    return ""
