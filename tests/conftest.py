"""What every test may ask for: recorded files, other programs, and an honest count of skips.

A test that asks for one of the fixtures `shared`, `qemu`, `qemu_img`, `powerpc_gcc` or `openbios`
is marked `interop`.  Where such a test cannot run it is skipped, with the reason; with
GOSSAMER_REQUIRE_INTEROP=1 (CI, ./test --all) it fails instead.  Tests marked `slow` run with
GOSSAMER_ALL=1 (./test --all) or when `-m` names them; those marked `once` only when `-m` does.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Final

import hypothesis
import pytest

from gossamer.core.trace import QUIET

CHECKOUT: Final = Path(__file__).resolve().parents[1]
INTEROP_FIXTURES: Final = {"shared", "qemu", "qemu_img", "powerpc_gcc", "openbios"}
OPENBIOS_PLACES: Final = (
    Path("/usr/share/qemu/openbios-ppc"),
    Path("/usr/share/openbios/openbios-ppc"),
)
VGA_ROM_PLACES: Final = tuple(
    Path("/usr/share", folder, "vgabios-stdvga.bin") for folder in ("seabios", "qemu")
)
SLOW: Final = "slow: runs with ./test --all"
ONCE: Final = "too long for any suite: runs with -m once (docs/testing.md)"

hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def switched_on(name: str) -> bool:
    """Whether the environment variable `name` says yes."""
    return os.environ.get(name, "") not in ("", "0")


def unavailable(reason: str) -> None:
    """End the test that needs what is not there: a skip, or a failure where interop is required."""
    if switched_on("GOSSAMER_REQUIRE_INTEROP"):
        pytest.fail(f"GOSSAMER_REQUIRE_INTEROP is set, but {reason}", pytrace=False)
    pytest.skip(reason)


def program(name: str, package: str) -> Path:
    """The path of a program that the Debian package `package` brings."""
    found = shutil.which(name)
    if found is None:
        unavailable(f"{name} is not installed (Debian package {package})")
    return Path(str(found))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded streams, facts and guests: `shared`, beside the checkout."""
    given = os.environ.get("GOSSAMER_SHARED")
    path = Path(given) if given else CHECKOUT.parent / "shared"
    if not path.is_dir():
        where = f"GOSSAMER_SHARED={given}" if given else "shared/ beside the checkout"
        unavailable(f"there is no folder {where}")
    return path


@pytest.fixture(scope="session")
def qemu() -> Path:
    """The program qemu-system-ppc, with the ROM without which it makes no Macintosh."""
    found = program("qemu-system-ppc", "qemu-system-ppc")
    if not any(path.is_file() for path in VGA_ROM_PLACES):
        places = " or ".join(map(str, VGA_ROM_PLACES))
        unavailable(f"QEMU's Macs do not start: there is no {places} (Debian package seabios)")
    return found


@pytest.fixture(scope="session")
def qemu_img() -> Path:
    """The program qemu-img."""
    return program("qemu-img", "qemu-utils")


@pytest.fixture(scope="session")
def powerpc_gcc() -> str:
    """The prefix of the PowerPC cross tools: add `gcc`, `as`, `ld`, `objdump` to it."""
    compiler = program("powerpc-linux-gnu-gcc", "gcc-powerpc-linux-gnu")
    program("powerpc-linux-gnu-objdump", "binutils-powerpc-linux-gnu")
    return str(compiler).removesuffix("gcc")


@pytest.fixture(scope="session")
def openbios() -> Path:
    """The firmware image openbios-ppc."""
    for path in OPENBIOS_PLACES:
        if path.is_file():
            return path
    places = " or ".join(map(str, OPENBIOS_PLACES))
    unavailable(f"there is no {places} (Debian package openbios-ppc or qemu-system-data)")
    raise AssertionError  # `unavailable` has raised


@pytest.fixture(autouse=True)
def collector_on() -> Generator[None]:
    """No test leaves the garbage collector off: every machine behind it would stay in memory."""
    yield
    was = gc.isenabled()
    gc.enable()
    assert was, "the garbage collector is off"


@pytest.fixture(autouse=True)
def fresh_notes() -> None:
    """What chips outside a machine note is counted apart for each test: the counts are bounded."""
    QUIET.counts.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs other programs; leave out what is slow."""
    chosen = config.option.markexpr or ""
    runs_slow = switched_on("GOSSAMER_ALL") or "slow" in chosen
    for item in items:
        if INTEROP_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.interop)
        if item.get_closest_marker("slow") and not runs_slow:
            item.add_marker(pytest.mark.skip(reason=SLOW))
        if item.get_closest_marker("once") and "once" not in chosen:
            item.add_marker(pytest.mark.skip(reason=ONCE))


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a skipped test was skipped."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of an interop test, however it came about, into a failure where required."""
    report = yield
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and item.get_closest_marker("interop")
        and switched_on("GOSSAMER_REQUIRE_INTEROP")
        and skip_reason(report) not in (SLOW, ONCE)
    ):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, but GOSSAMER_REQUIRE_INTEROP is set: {skip_reason(report)}"
        )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        terminalreporter.write_line("no test was skipped")
        return
    terminalreporter.section(f"{len(skipped)} skipped, and why")
    for reason, count in Counter(map(skip_reason, skipped)).most_common():
        terminalreporter.write_line(f"{count:5}  {reason}")
