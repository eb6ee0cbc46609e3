"""Case 2: a prover passes only when something happened and was right; each fails by a fault.

`verify isa` and `verify cuts` with all their forms have theirs beside their own tests
(a wrong body, an excuse, state that a save leaves out, a line that a load does not drive).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gossamer import cli
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.verify.cuts import census, drop
from gossamer.verify.float import command as floats
from gossamer.verify.float.native import NativeFloat
from gossamer.verify.hops import command as hops
from gossamer.verify.hops.guests import FP, INT, LITTLE_CHAIN, LITTLE_INT, Linux, OpenBios

# --- hops -----------------------------------------------------------------------------------------

SELF = f"selfcheck i={{}} int={INT} fp={FP} x chain={{}} ok"
CHAINS = ("34d4bdbe", "00438077", "05486108")


class Console:
    """A station whose guest gives the answers it was made with."""

    def __init__(self, **answers: str) -> None:
        self.output = bytearray()
        self.seconds = 0.0
        self.answers = {
            "E1": "\r\n".join(SELF.format(n + 1, chain) for n, chain in enumerate(CHAINS)),
            "E2": "12",
            "E3": "15",
            "slept": "3.1",
        } | answers

    def type(self, text: bytes) -> None:
        mark = text.decode().split("echo ")[-1].strip().replace("''", "")
        answer = self.answers.get(mark, "")
        self.output += f"{text.decode()}\n{answer}\r\n".encode()
        if not answer.startswith("hangs"):
            self.output += f"{mark}\r\n".encode()
        if mark == "E3":
            self.seconds += float(self.answers["slept"])

    def expect(self, text: bytes, seconds: float, start: int = 0) -> None:
        if text not in self.output[start:]:
            raise GossamerError(f"the guest does not print {text!r}")


def end(**answers: str) -> str:
    guest = Linux(kernel=None, initrd=None)  # type: ignore[arg-type]
    return guest.end(Console(**answers))


def test_hops_pass_with_a_guest_that_is_right() -> None:
    assert end() == "selfcheck right in all 3 iterations; 15 s of ticks, no gap above 100 ms"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"E2": "0", "E3": "0"}, "ticks makes no progress: 0 s counted, 3 s later 0"),
        ({"E2": ""}, "ticks makes no progress"),
        ({"E3": "12"}, "no progress: 12 s counted, 3 s later 12"),
        ({"E3": "hangs"}, "does not print b'E3"),
        ({"slept": "0.75"}, "the guest's clock races"),
        ({"E2": "12\r\nticks BACK 3"}, "ran back"),
        ({"E1": ""}, "selfcheck found something bad, or nothing"),
        ({"E1": SELF.format(1, "34d4bdbf")}, "selfcheck is wrong at iteration 1"),
        ({"E1": SELF.format(4, "0").replace("ok", "BAD")}, "selfcheck"),
    ],
)
def test_case_2_hops_fail_with_a_guest_that_is_not(fault: dict[str, str], message: str) -> None:
    with pytest.raises(GossamerError, match=message):
        end(**fault)


def test_case_2_hops_with_a_little_endian_guest_want_its_own_numbers() -> None:
    right = SELF.replace(INT, LITTLE_INT).format(1, LITTLE_CHAIN[1])
    guest = Linux(kernel=None, initrd=None, little=True)  # type: ignore[arg-type]
    assert guest.end(Console(E1=right)).startswith("selfcheck right in all 1 iterations")
    with pytest.raises(GossamerError, match="selfcheck is wrong at iteration 1"):
        guest.end(Console())


def test_hops_of_a_pseries_start_qemu_as_the_same_machine(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"\x7fELF\2\1")
    guest = hops.traveller("linux", kernel, kernel, "hvc0")
    assert isinstance(guest, Linux)
    assert guest.little
    journey = hops.Journey(guest, "pseries-5.2", cpu="power8", cpus=2)
    assert journey.program == "qemu-system-ppc64"
    wanted = "-M pseries-5.2,x-vof=on,cap-htm=off -m 256 -nodefaults -cpu power8 -smp 2"
    assert " ".join(journey.qemu_options) == wanted
    assert (journey.config.cpus, journey.config.append) == (2, "console=hvc0")
    with pytest.raises(ConfigError, match=r"--kernel: .*No such file"):
        hops.traveller("linux", tmp_path / "none", kernel)


def test_hops_of_a_pseries_take_linux_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "hops", "-M", "pseries"]) == 2
    assert "--guest: pseries runs linux, got 'openbios'" in capsys.readouterr().err


def test_case_2_hops_with_openbios_fail_when_the_loop_ends_wrong() -> None:
    console = Console()
    console.output += f"{OpenBios.result(1) ^ 1:x}  ok".encode()
    with pytest.raises(GossamerError, match="does not print"):
        OpenBios().arrive(console, 1)


def test_case_2_hops_status_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def go(self: hops.Journey, count: int, say: object) -> str:
        return end(E2="0", E3="0")

    monkeypatch.setattr(hops.Journey, "go", go)
    parser = argparse.ArgumentParser()
    hops.add_parser(parser.add_subparsers())
    assert hops.run(parser.parse_args(["hops"])) == 1
    assert "WRONG: ticks makes no progress" in capsys.readouterr().out


# --- float ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["frt", "fpscr", "traps", "field", "written"])
def test_case_2_float_fails_by_one_bit_of_one_case(
    field: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert floats.verify(50, 1, ["fadd"]) == 0
    right = NativeFloat.run

    def wrong(self: NativeFloat, name: str, cases: object) -> object:
        found = right(self, name, cases)  # type: ignore[arg-type]
        values = np.array(getattr(found, field))
        at = int(np.flatnonzero(found.written)[0])
        values[at] = ~values[at] if values.dtype == bool else values[at] ^ values.dtype.type(1)
        return found._replace(**{field: values})

    monkeypatch.setattr(NativeFloat, "run", wrong)
    assert floats.verify(50, 1, ["fadd"]) == 1
    assert "mismatches=4" in capsys.readouterr().out


# --- cuts: nothing looked at is no success --------------------------------------------------------


def test_case_2_a_census_of_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "take", lambda plan, seed, say: (0, 0))
    assert census.run_census(SimpleNamespace(seed=1), None) == 1  # type: ignore[arg-type]


def test_case_2_dropping_no_field_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop, "try_all", lambda *rest: set())
    monkeypatch.setattr(drop, "excuses", lambda *rest: {})
    monkeypatch.setattr(drop, "configuration", lambda config: "x")
    plan = SimpleNamespace(guest="x", config=None)
    arguments = SimpleNamespace(drop="all", seed=1)
    assert drop.run_drop(arguments, [plan]) == 1  # type: ignore[arg-type,list-item]
