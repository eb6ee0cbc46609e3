"""What a start imports: it stays small, and heavy libraries wait until they are used.

Counted, not timed: `bench/start.py` measures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

#: Modules of a plain start, Python's own among them: each costs every start some 0.2 ms.
MOST: Final = 290
#: What a plain start does without.
HEAVY: Final = frozenset(
    {"numpy", "llvmlite.binding", "elftools", "dataclasses", "inspect", "zstandard", "ssl"}
    | {"subprocess", "tempfile", "zipfile", "asyncio", "cryptography", "rich", "websockets"}
    | {"socket", "json", "datetime", "difflib", "fractions", "logging"}
)
#: The same of gossamer's own packages: the text of instructions, what reads images, commands.
LATE: Final = (
    *("gossamer.isa.body", "gossamer.isa.insn", "gossamer.engine.translate", "gossamer.block"),
    *("gossamer.control.commands", "gossamer.control.stream_out", "gossamer.control.stream_in"),
    *("gossamer.control.sending", "gossamer.control.receiving", "gossamer.migrate.channels"),
    *("gossamer.front.hmp.rows", "gossamer.devices.usb", "gossamer.devices.sungem"),
)
#: `b .` at the reset vector.
FIRMWARE: Final = bytes(0xFC) + b"\x48\0\0\0"


#: Runs a machine as `gossamer` does, and says what is imported when it has ended; without what is
#: loaded beside the guest.
SCRIPT: Final = """
import sys
from gossamer import cli
from gossamer.core import ahead
ahead.load = lambda modules: None
assert cli.main(sys.argv[1:]) == 0
print(*sorted(sys.modules), file=sys.stderr)
"""


def imported_by_a_start(firmware: Path) -> set[str]:
    """Names of the modules that a start loads whose guest is ended at once by C-a x."""
    options = ["-M", "g3beige", "-nographic", "-accel", "tcg,tier=0", "-bios", str(firmware)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "run", *options],
        input=b"\x01x",
        capture_output=True,
        timeout=600,
        check=True,
    )
    return set(done.stderr.decode().split())


def test_start_imports_no_heavy_library_and_few_modules(tmp_path: Path) -> None:
    firmware = tmp_path / "firmware"
    firmware.write_bytes(FIRMWARE)
    for _ in range(5):
        found = imported_by_a_start(firmware)
        if "tempfile" not in found:  # else something was put into the cache
            break
    assert "gossamer.machines.g3beige" in found
    assert sorted(HEAVY & found) == []
    assert [name for name in sorted(found) if name.startswith(LATE)] == []
    assert len(found) <= MOST, f"{len(found)} modules"


def test_code_that_is_kept_runs_without_the_table_of_instructions() -> None:
    """What makes regions is loaded in every process, what compiles them where that is done."""
    modules = "gossamer.engine.regions.regions, gossamer.engine.stencils.made"
    script = f"import sys, {modules}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=100, check=True
    )
    found = set(done.stdout.decode().split())
    late = ("gossamer.isa.spec.table", "gossamer.isa.insn", "gossamer.isa.expr", "logging")
    assert [n for n in (*late, "llvmlite.binding", "concurrent.futures") if n in found] == []
