"""Compiling the module, and the cache of its object file on disk.

The cache lies in ``$XDG_CACHE_HOME/gossamer`` (``~/.cache/gossamer``).  A file is used only when
it is ours (owner, mode 0600), its checksum agrees and its name carries the hash of everything that
the object depends on; anything else is ignored and made anew.
"""

from __future__ import annotations

import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Final

import llvmlite
import llvmlite.binding as llvm
import xxhash

from gossamer.core import host
from gossamer.isa.architecture import Architecture

_MAGIC: Final = b"gossamer object 1\n"
#: A folder of libvirt's for one run of a domain.
_OF_ONE_RUN: Final = re.compile(r"domain-[0-9]+-.*", re.ASCII)
_SOURCES: Final = ("base", "isa", "cpu", "engine")


def target_machine(level: int) -> llvm.TargetMachine:
    """This host, for code generation at a level from 0 to 3."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for inline assembly: AArch64 has some, x86-64 empty ones
    return llvm.Target.from_default_triple().create_target_machine(
        opt=level,
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        codemodel="small",
        reloc="pic",
        jit=True,
    )


@lru_cache(maxsize=1)
def _target() -> llvm.TargetMachine:
    return target_machine(2)


@lru_cache(maxsize=1)
def _source_hash() -> str:
    """Hash of every source file that the native code is made from."""
    h = xxhash.xxh3_128()
    root = Path(__file__).resolve().parents[1]
    for package in _SOURCES:
        for path in sorted((root / package).rglob("*.py")):
            h.update(str(path.relative_to(root)).encode())
            h.update(path.read_bytes())
    return h.hexdigest()


def cache_key(architecture: Architecture) -> str:
    here = llvm.get_host_cpu_name() + llvm.get_host_cpu_features().flatten()
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


def compile_object(text: str) -> bytes:
    """Optimise LLVM text and emit an object file."""
    target = _target()
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    obj: bytes = target.emit_object(module)
    return obj


def object_for(architecture: Architecture) -> bytes:
    """The object file of tier 0 for a CPU model, from the cache when it is there."""
    _target()
    path = cache_folder() / f"tier0-{cache_key(architecture)}.o"
    obj = _read(path)
    if obj is None:
        from gossamer.engine.module import module_text

        obj = compile_object(module_text(architecture))
        _write(path, obj)
    return obj


class Native:
    """Linked native code; `address(name)` of an exported function.  Keep it alive."""

    def __init__(self, obj: bytes) -> None:
        self.obj = obj
        empty = llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"\n')
        # MCJIT takes the target machine over: it must have one of its own.
        _target.cache_clear()
        self._engine = llvm.create_mcjit_compiler(empty, _target())
        _target.cache_clear()
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(obj))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        found: int = self._engine.get_function_address(name)
        assert found, f"native code has no {name}"
        return found


@lru_cache(maxsize=4)
def native(architecture: Architecture) -> Native:
    """Tier 0 for such a model, linked once a process."""
    return Native(object_for(architecture))
