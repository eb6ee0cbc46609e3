"""Tier 0 as native code: the cache of its object files on disk, compiling where one is not there.

The cache lies in ``$XDG_CACHE_HOME/gossamer`` (``~/.cache/gossamer``).  A file is used only when
it is ours (owner, mode 0600), its checksum agrees and its name carries the hash of everything that
the object depends on; anything else is ignored and made anew.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import llvmlite
import xxhash

from gossamer.base.bits import align_up
from gossamer.base.late import pattern
from gossamer.core import host
from gossamer.engine.arena import CodeArena
from gossamer.engine.elf import Loader
from gossamer.engine.tidying import mark_used, tidy
from gossamer.engine.units import UNITS
from gossamer.isa.architecture import Architecture

_MAGIC: Final = b"gossamer object 1\n"
#: A folder of libvirt's for one run of a domain.
_OF_ONE_RUN: Final = pattern(r"domain-[0-9]+-.*", re.ASCII)
_SOURCES: Final = ("base", "isa", "cpu", "engine")
#: Bytes for jumps to functions of another object.
_STUBS: Final = 4096
#: A handler of a unit (`variants`).
_OF_UNIT: Final = pattern(r"h([1-9])_", re.ASCII)


@lru_cache(maxsize=1)
def _source_hash() -> str:
    """Hash of every source file that the native code is made from.

    Kept in the cache by the files' places, sizes and times, as Python keeps compiled modules:
    reading them all takes longer than loading the code.
    """
    root = str(Path(__file__).resolve().parents[1])
    seen = xxhash.xxh3_128(root.encode())
    names = []
    for package in _SOURCES:
        for name, status in _sources(root, package):
            names.append(name)
            # A file that was put back has its old mtime, but not its old ctime.
            times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
            seen.update(f"{name}\0{status.st_size}\0{times}\0".encode())
    path = cache_folder() / f"sources-{seen.hexdigest()}.hash"
    kept = _read(path)
    if kept is not None:
        return kept.decode("ascii", "replace")
    h = xxhash.xxh3_128()
    for name in names:
        h.update(name.encode())
        h.update((Path(root) / name).read_bytes())
    made = h.hexdigest()
    _write(path, made.encode())
    return made


def _sources(root: str, folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """The sources below a folder, in order: place and status."""
    with os.scandir(f"{root}/{folder}") as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = f"{folder}/{entry.name}"
        if entry.name.endswith(".py"):
            yield name, entry.stat()
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _sources(root, name)


def cache_key(architecture: Architecture) -> str:
    here = host.processor()
    if here is None:
        from gossamer.engine.llvm import host_processor

        here = host_processor()
    parts = (_source_hash(), llvmlite.__version__, here, architecture.key)
    return xxhash.xxh3_128_hexdigest("|".join(parts).encode())


def cache_folder() -> Path:
    """Where compiled code is kept.

    libvirt gives each run of a domain a cache home that goes with it: what such a run compiles is
    kept where the next one finds it.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if not base or _OF_ONE_RUN.fullmatch(Path(base).parent.name):
        return host.home() / ".cache" / "gossamer"
    return Path(base) / "gossamer"


def is_private(handle: int) -> bool:
    """Whether a file is this user's and no one else may read or write it."""
    stat = os.fstat(handle)
    return stat.st_uid == os.getuid() and not stat.st_mode & 0o077


def _read(path: Path) -> bytes | None:
    """The object in a cache file, or None when it is not wholly trustworthy."""
    try:
        with path.open("rb") as f:
            if not is_private(f.fileno()):
                return None
            data = f.read()
    except OSError:
        return None
    head, rest = data[: len(_MAGIC)], data[len(_MAGIC) :]
    if head != _MAGIC or len(rest) < 16 or xxhash.xxh3_128_digest(rest[16:]) != rest[:16]:
        return None
    return rest[16:]


def _write(path: Path, obj: bytes) -> None:
    """Keep an object; a cache that can't be written is no error."""
    import tempfile

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(_MAGIC + xxhash.xxh3_128_digest(obj) + obj)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


def object_for(architecture: Architecture) -> bytes:
    """The object file of tier 0's core for a CPU model, from the cache when it is there."""

    def make() -> bytes:
        from gossamer.engine.llvm import compile_object
        from gossamer.engine.module import module_text

        return compile_object(module_text(architecture), quick=True)

    return _kept("tier0", architecture, make)


def unit_for(architecture: Architecture, unit: int, core: Collection[str]) -> bytes:
    """The same for a unit, beside a core with such symbols."""

    def make() -> bytes:
        from gossamer.engine.llvm import compile_object
        from gossamer.engine.module import unit_text

        return compile_object(unit_text(architecture, unit, core), quick=True)

    return _kept("tier0", architecture, make, unit)


def stencils_for(architecture: Architecture, unit: int = 0) -> bytes:
    """The sheet of a unit's stencils for a CPU model, from the cache when it is there."""

    def make() -> bytes:
        from gossamer.engine.stencils.sheet import sheet

        return sheet(architecture, unit)

    return _kept("stencils", architecture, make, unit)


def _kept(name: str, architecture: Architecture, make: Callable[[], bytes], unit: int = 0) -> bytes:
    """What is in the cache, or else is made and put there."""
    key = cache_key(architecture)
    path = cache_folder() / f"{name}{f'.{UNITS[unit]}' if unit else ''}-{key}.o"
    obj = _read(path)
    if obj is not None:
        mark_used(path)
        return obj
    obj = make()
    _write(path, obj)
    tidy(path.parent, key)
    return obj


class Native:
    """Native code, loaded from an object file.  Keep it alive.

    `symbols` are the addresses of its functions, the internal ones too.
    """

    def __init__(self, obj: bytes, functions: Mapping[str, int] = MappingProxyType({})) -> None:
        """`functions` are those that it may call."""
        room = align_up(len(obj) + _STUBS, mmap.PAGESIZE)
        arena = CodeArena(room)
        symbols = Loader(arena, functions).load(obj)
        assert symbols is not None, "an object file has room for its own sections"
        self._arena, self.symbols = arena, symbols

    def address(self, name: str) -> int:
        assert name in self.symbols, f"native code has no {name}"
        return self.symbols[name]


class Tier0Code(Native):
    """Tier 0's native code for a model: the core, and units as they are asked for."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(object_for(architecture))
        self._architecture = architecture
        #: By number, those that are there.
        self.units: dict[int, Native] = {}

    def unit(self, number: int) -> Native:
        """A unit, from the cache or made."""
        found = self.units.get(number)
        if found is None:
            obj = unit_for(self._architecture, number, self.symbols.keys())
            found = self.units[number] = Native(obj, self.symbols)
        return found

    @property
    def functions(self) -> Mapping[str, int]:
        """The functions of core and units, each found when its address is asked for."""
        return _Functions(self)


class _Functions(Mapping[str, int]):
    def __init__(self, code: Tier0Code) -> None:
        self._code = code

    def __getitem__(self, name: str) -> int:
        unit = _OF_UNIT.match(name)
        return (self._code.unit(int(unit[1])) if unit else self._code).symbols[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._code.symbols)

    def __len__(self) -> int:
        return len(self._code.symbols)


@lru_cache(maxsize=4)
def native(architecture: Architecture) -> Tier0Code:
    """Tier 0 for such a model, loaded once a process."""
    return Tier0Code(architecture)
