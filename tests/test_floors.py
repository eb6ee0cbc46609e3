"""The floors: what a package may import, which may touch the host, how long a file may be.

The rules are data (FLOORS, HOST_DOORS, THIRD_PARTY); `violations` reads one file's syntax tree,
TYPE_CHECKING blocks and imports inside functions included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = CHECKOUT / "src" / "gossamer"
LONGEST: Final = 700

FLOORS: Final = {
    "base": 0,
    "isa": 1,
    "state": 1,
    "core": 2,
    "cpu": 3,
    "devices": 3,
    "migrate": 3,
    "block": 3,
    "net": 3,
    "engine": 4,
    "machines": 5,
    "control": 6,
    "recipes": 6,
    "api": 7,
    "front": 7,
    "verify": 7,
    "streams": 7,
    "bench": 7,
    "demo": 7,
    "fleet": 7,
    "cli": 8,
    "__main__": 9,
}

# Modules through which time, chance, files, other threads, processes and machines come in.
HOST: Final = frozenset(
    {"_thread", "asyncio", "concurrent", "datetime", "multiprocessing", "os", "random", "secrets"}
    | {"select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess"}
    | {"tempfile", "threading", "time", "uuid"}
)
FILES: Final = frozenset({"os", "shutil", "tempfile"})
# A path, or the start of one with a final slash, and what it may import of HOST.
HOST_DOORS: Final = {
    "core/host.py": HOST,
    "core/ahead.py": frozenset({"threading"}),
    "core/mappings.py": frozenset({"os"}),
    "migrate/channels.py": HOST,
    "migrate/multifd_in.py": frozenset({"threading"}),
    "migrate/tls.py": HOST,
    "migrate/tls_init.py": HOST,
    "migrate/": FILES,
    "block/": FILES,
    "net/": HOST,
    "engine/": FILES | {"concurrent", "multiprocessing", "subprocess", "threading"},
    "machines/firmware.py": FILES,
    "control/": HOST,
    "api/": FILES,
    "api/forks.py": FILES | {"selectors", "signal", "socket"},
    "front/": HOST,
    "verify/": HOST,
    "streams/": HOST,
    "bench/": HOST,
    "demo/": HOST,
    "fleet/": HOST,
    "recipes/": HOST,
    "cli.py": HOST,
    "__main__.py": HOST,
}
# Built-in functions that reach the host; only behind a door.
HOST_BUILTINS: Final = frozenset({"input", "open", "print"})

# Which packages may import a library; a library that is not named here is free.
THIRD_PARTY: Final = {
    "llvmlite": {"engine"},
    "rich": {"front", "verify", "streams", "bench", "demo", "fleet", "cli"},
    "ray": {"fleet"},
    "websockets": {"front"},
    "pycdlib": {"block"},
    "capstone": set(),
    "dataclasses": {"base"},  # base.data.Data costs a start less
    "hypothesis": set(),
    "pytest": set(),
    "unicorn": {"verify"},
}


def imported(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of all that the file `module` imports.

    `from a import b` gives a.b: whether b is a module or a name in a, its top package is the same.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")[: -node.level] if node.level else []
            start = ".".join([*parts, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func)
            if called in {"__import__", "import_module", "importlib.import_module"}:
                name = node.args[0]
                text = name.value if isinstance(name, ast.Constant) else "?"
                yield node.lineno, str(text)


def host_grant(path: str) -> frozenset[str]:
    """Which host modules the file may import: the longest entry of HOST_DOORS that fits."""
    fits = [
        door for door in HOST_DOORS if path == door or (door[-1] == "/" and path.startswith(door))
    ]
    return frozenset(HOST_DOORS[max(fits, key=len)]) if fits else frozenset()


def import_fault(package: str, grant: frozenset[str], name: str) -> str | None:
    """What is wrong with importing `name` from a file of `package`, if anything."""
    top, _, rest = name.partition(".")
    if top == "?":
        return "imports a module whose name is computed"
    if top in HOST and top not in grant:
        return f"imports {top}: the host's things come in through core/host.py"
    if name.startswith("numpy.random") and package != "verify":
        return "imports numpy.random: chance comes in through core/host.py"
    if top in THIRD_PARTY and package not in THIRD_PARTY[top]:
        only = ", ".join(sorted(THIRD_PARTY[top])) or "tests"
        return f"imports {top}: only {only} may"
    target = rest.partition(".")[0]
    if top != "gossamer" or target == package:
        return None
    if not package and target in ("api", "base"):
        return None  # what `from gossamer import …` gives
    if target in FLOORS and FLOORS[target] >= FLOORS.get(package, 0):
        floors = f"{package or 'the root'} is on floor {FLOORS.get(package, 0)}"
        return f"imports gossamer.{target} (floor {FLOORS[target]}), but {floors}"
    return None


def violations(root: Path, path: Path) -> list[str]:
    """Every broken rule of one file below `root`, the folder of the package gossamer."""
    inside = path.relative_to(root)
    package = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    package = "" if package == "__init__" else package
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, str(inside))
    grant = host_grant(inside.as_posix())
    found = []
    if package and package not in FLOORS:
        found.append(f"{inside}: {package} has no floor; give it one in FLOORS")
    if (lines := text.count("\n")) > LONGEST:
        found.append(f"{inside}: {lines} lines, the limit is {LONGEST}")
    for line, name in imported(tree, ".".join(["gossamer", *inside.with_suffix("").parts])):
        if fault := import_fault(package, grant, name):
            found.append(f"{inside}:{line}: {fault}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in HOST_BUILTINS and not grant:
                found.append(f"{inside}:{node.lineno}: calls {node.func.id}() on the host")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in {"np.random", "numpy.random"}:
            if inside.parts[0] == "tools":
                continue  # operands of a check, from a seed that it prints
            found.append(f"{inside}:{node.lineno}: uses numpy.random")
    return found


def test_source_keeps_to_its_floors() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) >= len(FLOORS) - 2, "too few files: is this the right folder?"
    faults = [fault for path in files for fault in violations(SOURCE, path)]
    assert not faults, "\n" + "\n".join(faults)


# --- circles --------------------------------------------------------------------------------------

#: Where not even an import for types alone may close a circle.
STRICT: Final = frozenset({"control", "front", "migrate", "machines", "state", "core"})


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(root: Path, *, types: bool) -> dict[str, set[str]]:
    """Which file of the package at `root` imports which; `types`: TYPE_CHECKING blocks count."""
    files = {module_name(root, path): path for path in sorted(root.rglob("*.py"))}
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not types:
            _TypesOnly().visit(tree)
        source = module + (".__init__" if path.name == "__init__.py" else "")
        names = [name for _, name in imported(tree, source)]
        found = {name if name in files else name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in found if name in files and name != module}
    return graph


class _TypesOnly(ast.NodeTransformer):
    """Takes out what only type checkers see."""

    def visit_If(self, node: ast.If) -> ast.AST:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            return ast.Pass()
        self.generic_visit(node)
        return node


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The files that reach themselves, by groups."""
    reach: dict[str, set[str]] = {}
    for start, direct in graph.items():
        seen, todo = set[str](), list(direct)
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo += graph.get(here, ())
        reach[start] = seen
    groups = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return sorted(sorted(group) for group in groups)


def test_no_circle_between_files_at_run_time() -> None:
    assert circles(import_graph(SOURCE, types=False)) == []


def test_no_circle_even_of_types_in_the_strict_packages() -> None:
    found = circles(import_graph(SOURCE, types=True))
    assert [group for group in found if {name.split(".")[1] for name in group} & STRICT] == []


def test_circle_that_is_planted_is_found(tmp_path: Path) -> None:
    root = tmp_path / "gossamer"
    for place, text in {
        "a.py": "from gossamer.b import f",
        "b.py": "def f():\n    from gossamer import c",
        "c.py": "import typing\nif typing.TYPE_CHECKING:\n    from gossamer.a import g",
        "d.py": "import gossamer.a",
    }.items():
        root.mkdir(exist_ok=True)
        (root / place).write_text(text)
    assert circles(import_graph(root, types=False)) == []
    assert circles(import_graph(root, types=True)) == [["gossamer.a", "gossamer.b", "gossamer.c"]]


def test_every_package_folder_has_a_floor() -> None:
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == {name for name in FLOORS if name not in {"cli", "__main__"}}


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_other_files_stay_short(folder: str) -> None:
    sizes = {
        path.relative_to(CHECKOUT): path.read_text(encoding="utf-8").count("\n")
        for path in (CHECKOUT / folder).rglob("*.py")
    }
    assert {path: size for path, size in sizes.items() if size > LONGEST} == {}


# Each planted file breaks one rule; the checker must say which.
PLANTED: Final = {
    "upward": ("core/a.py", "import gossamer.engine.emit", "imports gossamer.engine (floor 4)"),
    "upward from": ("core/a.py", "from gossamer.cpu import mmu", "core is on floor 2"),
    "root from": ("core/a.py", "from gossamer import engine", "imports gossamer.engine"),
    "sideways": (
        "devices/a.py",
        "from gossamer.cpu.block import X",
        "imports gossamer.cpu (floor 3)",
    ),
    "sideways above": ("verify/a.py", "import gossamer.front.qmp", "imports gossamer.front"),
    "relative": ("devices/a.py", "from ..engine import emit", "imports gossamer.engine"),
    "relative deep": ("isa/spec/a.py", "from ...cpu.mmu import walk", "imports gossamer.cpu"),
    "relative init": ("devices/__init__.py", "from ..migrate import x", "imports gossamer.migrate"),
    "type checking": (
        "base/a.py",
        "import typing\nif typing.TYPE_CHECKING:\n    from gossamer.core.clock import C",
        "a.py:3: imports gossamer.core",
    ),
    "in a function": (
        "state/a.py",
        "def f():\n    import gossamer.isa",
        "a.py:2: imports gossamer.isa",
    ),
    "by name": ("state/a.py", "import_module('gossamer.cpu')", "imports gossamer.cpu"),
    "computed": ("state/a.py", "import_module(name)", "name is computed"),
    "from the root": ("__init__.py", "from gossamer.cli import main", "the root is on floor 0"),
    "llvmlite": (
        "cpu/a.py",
        "import llvmlite.binding as llvm",
        "imports llvmlite: only engine may",
    ),
    "unicorn": ("engine/a.py", "import unicorn", "imports unicorn: only verify may"),
    "time": ("devices/a.py", "import time", "imports time: the host's"),
    "time from": ("devices/a.py", "from time import monotonic", "imports time: the host's"),
    "os.path": ("cpu/a.py", "import os.path", "imports os: the host's"),
    "migrate has files": ("migrate/a.py", "import threading", "imports threading"),
    "engine has no time": ("engine/a.py", "import time", "imports time"),
    "one firmware": ("machines/g3beige.py", "import os", "imports os"),
    "print": ("devices/a.py", "print(1)", "calls print() on the host"),
    "open": ("isa/a.py", "with open('x') as f:\n    pass", "calls open() on the host"),
    "chance": (
        "devices/a.py",
        "import numpy as np\nnp.random.default_rng()",
        "a.py:2: uses numpy.random",
    ),
    "no floor": ("helpers/a.py", "", "helpers has no floor"),
    "long": ("isa/a.py", "x = 1\n" * 701, "701 lines, the limit is 700"),
}


def planted(root: Path, place: str, text: str) -> list[str]:
    """What the checker says of a file written for the purpose."""
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return violations(root, path)


@pytest.mark.parametrize("case", PLANTED)
def test_checker_when_a_rule_is_broken_then_says_so(case: str, tmp_path: Path) -> None:
    place, text, fault = PLANTED[case]
    faults = planted(tmp_path, place, text)
    assert len(faults) == 1, faults
    assert fault in faults[0]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (
            "devices/a.py",
            "from gossamer.core.device import Device\nfrom gossamer import __version__",
        ),
        ("devices/a.py", "from . import via\nfrom .via import Via\nfrom ..state.fields import u8"),
        (
            "isa/spec/a.py",
            "from .. import forms\nfrom ...base import bits\nimport gossamer.isa.ops",
        ),
        ("engine/a.py", "import llvmlite\nimport os\nimport subprocess"),
        ("core/host.py", "import time, os, random, threading\nopen('x')"),
        ("migrate/channels.py", "import socket, ssl"),
        ("cli.py", "import gossamer.front.qmp\nfrom gossamer.bench import engine\nprint(1)"),
        ("__main__.py", "from gossamer.cli import main"),
        ("isa/a.py", "x = 1\n" * 700),
    ],
)
def test_checker_when_rules_are_kept_then_is_silent(place: str, text: str, tmp_path: Path) -> None:
    assert planted(tmp_path, place, text) == []


# What only Linux has; below front it comes in through core/host.py, with a way for other hosts.
LINUX: Final = frozenset(
    {"memfd_create", "fdatasync", "MADV_DONTNEED", "MAP_POPULATE", "MAP_NORESERVE", "O_TMPFILE"}
    | {"copy_file_range", "posix_fallocate", "eventfd", "pidfd_open", "sched_getaffinity", "pipe2"}
    | {"epoll", "splice", "O_DIRECT", "accept4", "SO_PEERCRED"}
)


#: Files that ask whether the host has it, and go another way where it has not.
ASKS: Final = ("host.py", "container_writer.py")


def linux_only(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in LINUX]
    names = [f"{path.name}:{n.lineno}: {n.attr}" for n in found if ast.unparse(n.value) != "host"]
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    places = [n for n in texts if n.value.startswith(("/proc/", "/sys/"))]
    return names + [f"{path.name}:{n.lineno}: {n.value}" for n in places]


def test_nothing_below_front_needs_linux() -> None:
    below = {name for name, floor in FLOORS.items() if floor < FLOORS["front"]}
    files = [f for name in below for f in (SOURCE / name).rglob("*.py")]
    assert [fault for f in files if f.name not in ASKS for fault in linux_only(f)] == []
    assert linux_only(SOURCE / "core" / "host.py"), "the check finds nothing"
