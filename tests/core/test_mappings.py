"""Mappings of files that are only read go, and come again."""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

import pytest

from gossamer.core import host, mappings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is there")
SIZE = 64 * mmap.PAGESIZE


def resident(memory: mmap.mmap) -> int:
    """Pages that are there, of those that the process can see."""
    found = host.page_map(host.address_of(memory), len(memory) // mmap.PAGESIZE)
    assert found is not None
    return sum(found[n + 7] >> 7 for n in range(0, len(found), 8))


def test_what_is_only_read_goes_and_comes_again(tmp_path: Path) -> None:
    content = bytes(range(256)) * (SIZE // 256)
    (tmp_path / "lib.so").write_bytes(content)
    with (tmp_path / "lib.so").open("r+b") as file:
        private = mmap.MAP_PRIVATE
        read = mmap.mmap(file.fileno(), SIZE, private, mmap.PROT_READ)
        written = mmap.mmap(file.fileno(), SIZE, private)
    assert read[:] == content
    written[0] = 7
    assert written[1:] == content[1:]
    before = resident(read)
    gone = mappings.give_back("/lib.so")
    assert gone >= SIZE
    assert resident(read) < before
    assert written[0] == 7
    assert read[:] == content


def test_a_mapping_with_pages_of_its_own_stays(tmp_path: Path) -> None:
    (tmp_path / "own.so").write_bytes(bytes(SIZE))
    with (tmp_path / "own.so").open("r+b") as file:
        memory = mmap.mmap(file.fileno(), SIZE, mmap.MAP_PRIVATE)
    memory[0] = 7
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(host.address_of(memory), SIZE, mmap.PROT_READ) == 0  # as relocated data are
    assert mappings.give_back("/own.so") == 0
    assert memory[0] == 7


def test_a_file_that_is_not_mapped() -> None:
    assert mappings.give_back("/there-is-no-such-library.so") == 0
