"""The pseries beside QEMU 7.2: its tree, its hypercalls, its streams in both directions."""

from __future__ import annotations

import lzma
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from struct import pack, unpack_from

import pytest

from gossamer.control.stream_out import body_of
from gossamer.control.vm import Vm
from gossamer.devices.spapr.fdt import unflatten
from gossamer.devices.spapr.rtas import TOKENS
from gossamer.machines.build import build
from gossamer.machines.options import parse
from gossamer.verify.hops.qemu import QemuStation
from tests.conftest import program
from tests.interop.pseries import CAPS, changed_sections
from tests.machines.test_pseries import elf

QEMU = ("-M", "pseries-7.2,x-vof=on,cap-vsx=off,cap-dfp=off", "-cpu", "970mp_v1.1", "-m", "256")
USUAL = ("-M", "pseries", "-m", "256", "-nographic", "-serial", "null", "-rtc", "base=2020-01-01")
OURS = (*USUAL, "-nodefaults")
AT = 0x40_0000

#: Loads r3 … r11 from a row at 0x410000, calls, stores them to 0x420000, for each of the rows whose
#: number is at 0x408000; then 0x408008 is 1.
CALLER = bytes.fromhex(
    "3fe000413fc000423fa0004063bd8000eb9d00007f8903a6e87f0000e89f0008e8bf0010e8df0018e8ff0020"
    "e91f0028e93f0030e95f0038e97f004044000022f87e0000f89e0008f8be0010f8de0018f8fe0020f91e0028"
    "f93e0030f95e0038f97e00403bff00483bde00484200ffac38600001f87d000848000000"
)
#: Sets DEC to 10 ms and waits in H_CEDE; its interrupt does so again, and prints a dot.
DOTS = pack(
    ">30I",
    *(0x3860_0900, 0x3C80_0041, 0x38A0_0012, 0x7CA9_03A6, 0x3863_FFFC, 0x3884_FFFC),  # copy
    *(0x84C4_0004, 0x94C3_0004, 0x4200_FFF8),
    *(0x3CC0_004E, 0x7CD6_03A6),  # lis r6,78; mtdec r6
    *(0x3860_00E0, 0x4400_0022, 0x4BFF_FFF8),  # H_CEDE again and again
    *(0x6000_0000,) * 16,
)
HANDLER = pack(
    ">10I",
    *(0x3CC0_004E, 0x7CD6_03A6),
    *(0x3860_0058, 0x3880_0000, 0x38A0_0001, 0x3CC0_2E00, 0x78C6_07C6, 0x4400_0022),
    *(0x4C00_0024, 0x6000_0000),  # rfid
)

V, R, EXACT = 0x400E_A1B2_1700_0301, 0x5012, 1 << 39
AVPN = V & ~0x7F
CALLS = [
    *[(0x08, 0, 21, V, R)] * 9,
    *((0x08, 0, 0, V, 0x5000 | low) for low in (0x22, 2, 0x1A)),
    *((0x08, 0, 0, V, 0x2000_0000 | low) for low in (0x12, 0x22, 0x2A)),
    *((0x08, 0, index, V, R) for index in (1 << 40, -1)),
    (0x08, 0, 0, V | 4, 0x1_1010),
    (0x08, EXACT, 5, V, R | 0x180),
    *((0x04, 1 << 31, 5, AVPN ^ 0x80), (0x04, 1 << 30, 5, V), (0x18, 0x8000_0107, 5, AVPN)),
    (0x124, 0x42 << 56 | 5, AVPN, 0x42 << 56 | 6, AVPN, 0xC0 << 56, 0),
    *((0x124, 1, 0), (0x124, 0x43 << 56 | 5, 0), (0x124, 0x42 << 56 | 1 << 30, 0)),
    *((0x10, 0, 5), (0x14, 0, 5), (0x28, 0x1000), (0x134, 1, 2)),
    *((0x31C, 0, 3), (0x31C, 0, 4), (0x31C, 3, 3), (0x31C, 0, 1), (0x1C8,), (0x300,), (0x398,)),
    *(
        (0xE8, 1),
        (0xDC, 1 << 45, 0, 0),
        (0xDC, 1 << 45, 0, 0x43_0000),
        (0xDC, 1 << 45, 1, 0x43_0000),
    ),
    *((0xDC, 3 << 45, 0, 0x44_0000), (0xDC, 5 << 45, 0, 0), (0xDC, 7 << 45, 0, 0)),
    *(
        (0x54, 0),
        (0x54, 0x7100_0001),
        (0x58, 0x7100_0000, 17),
        (0x58, 0, 1, 0x41 << 56),
        (0x58, 9, 1),
    ),
    *((0x104, 0x7100_0000, 1), (0x104, 5, 1)),
    *((0x20, 0x8000_0000, 0x1000, 0x5003), (0x1C, 0x8000_0000, 0x1000)),
    *((0x1C, 0x8000_0000, 1 << 30), (0x20, 0x8000_0000, -1, 3), (0x138, 1, 0, 0, 5)),
    *((0x138, 0x8000_0000, 0, 0, 512), (0x138, 0x8000_0000, 0x3FFF_F000, 0, 2)),
    *((0x13C, 0x8000_0000, 0, 0x45_0000, 4), (0x13C, 0x8000_0000, 0, 0x45_0008, 4)),
    *((0x13C, 0x8000_0000, 0, 0x45_0000, 513), (0x1C, 0x8000_0000, 0x3000), (0x1C, 0x8000_0001, 0)),
    *((0x68, 0xFF), (0x74,), (0x70, 0), (0x70, 1), (0x6C, 0, 5), (0x70, 0), (0x74,)),
    *((0x6C, 0, 0xFF), (0x64, 0xFF00_0002), (0x74,), (0x6C, 9, 5), (0x64, 0xFF00_1000)),
    *(
        (0x3C, 8, 0x45_0000),
        (0x3C, 3, 0x45_0000),
        (0x40, 4, 0x45_0100, 0xDEAD_BEEF),
        (0x40, 3, 0, 0),
    ),
    *((0xF001, 0x46_0000, 0x45_0000, 2, 4, 0), (0xF001, 0x46_0000, 0x45_0000, 4, 4, 0)),
    *((0xF001, 0x46_0000, 0x45_0000, 0, 4, 2), (0xF003,), (0x4C, 0x45_0000), (0x50, 0x45_0000)),
    *((0x2C, 0x8000, 0x47_0000), (0x2C, 0x4000, 0x47_0000, 0x45_0000), (0x2C, 0, 0x47_0001)),
    *((0x5554,), (1,), (0x1_0000,), (0xF080,), (0xF000, 1 << 40)),
]
ANSWERING = ("2.1", "2.6", "2.7", "2.8", "2.12", "2.12-sxxm", "3.1", "4.0", "4.2", "5.0", "7.2")
#: QEMU marks an entry that it has not sent yet (0x40 in V).
MARK = 0x40


@pytest.fixture(scope="module")
def qemu64() -> Path:
    return program("qemu-system-ppc64", "qemu-system-ppc")


@pytest.fixture
def start(qemu64: Path) -> Iterator[Callable[..., QemuStation]]:
    started: list[QemuStation] = []
    with tempfile.TemporaryDirectory(prefix="gsm-") as folder:

        def made(*options: str) -> QemuStation:
            path = Path(folder) / str(len(started))
            path.mkdir()
            started.append(QemuStation(path, *QEMU, "-nodefaults", *options, program=qemu64))
            return started[-1]

        yield made
        for one in started:
            one.close()


def kernel(folder: Path, code: bytes) -> Path:
    path = folder / "kernel"
    path.write_bytes(elf(code))
    return path


def rows(calls: Sequence[tuple[int, ...]]) -> bytearray:
    """A program that does these hypercalls, with room behind it."""
    image = bytearray(0x6_0000)
    image[: len(CALLER)] = CALLER
    image[0x8000:0x8008] = len(calls).to_bytes(8, "big")
    for n, call in enumerate(calls):
        row = [*call, *[0] * (9 - len(call))]
        image[0x1_0000 + 72 * n : 0x1_0048 + 72 * n] = pack(">9Q", *(x % (1 << 64) for x in row))
    return image


def run_both(
    path: Path,
    station: QemuStation,
    count: int,
    out: Path,
    options: Sequence[str] = (),
    presses: int = 0,
) -> tuple[bytes, bytes]:
    """The program's memory after its calls, here and in QEMU; the power button is pressed first."""
    m = build(parse([*OURS, *options, "-kernel", str(path)]))
    for _ in range(presses):
        assert m.power_button is not None
        m.power_button()
        station.command("system_powerdown")
    m.processor.run(40 * count + 100)
    mine = m.memory.read(AT, 0x6_0000)
    assert mine[0x800F] == 1
    if presses:
        station.command("cont")
    end = time.monotonic() + 600
    while time.monotonic() < end:
        time.sleep(0.02)
        station.command("pmemsave", val=AT, size=0x6_0000, filename=str(out))
        theirs = out.read_bytes()
        if theirs[0x800F]:
            break
    assert theirs[0x800F] == 1
    return mine, theirs


@pytest.mark.parametrize("cpu", CAPS)
@pytest.mark.parametrize(
    "version", ["2.1", "2.6", "2.7", "2.8", "2.12", "2.12-sxxm", "3.1", "4.0", "4.2", "5.0", "7.2"]
)
def test_hypercalls_answer_alike(
    tmp_path: Path, start: Callable[..., QemuStation], version: str, cpu: str
) -> None:
    image = rows(CALLS)
    image[0x3_0004:0x3_0006] = b"\x02\x80"
    image[0x4_0004:0x4_0008] = b"\0\0\0\x80"
    image[0x5_0000:0x5_0020] = pack(">4Q", 0x1003, 0x2003, 0x3003, 0x4003)
    path = kernel(tmp_path, bytes(image))
    machine = f"pseries-{version},x-vof=on,{CAPS[cpu]}"
    station = start("-M", machine, "-cpu", cpu, "-kernel", str(path))
    options = ("-M", f"pseries-{version}", "-cpu", cpu)
    mine, theirs = run_both(path, station, len(CALLS), tmp_path / "memory", options)
    for n, call in enumerate(CALLS):
        at = 0x2_0000 + 72 * n
        want, got = list(unpack_from(">9Q", theirs, at)), list(unpack_from(">9Q", mine, at))
        if call[0] in (0x04, 0x0C) and want[0] == 0:
            want[1] &= ~MARK
        assert got == want, (n, [hex(x) for x in call])
    for area in ((0x3_0000, 0x20), (0x5_0100, 8), (0x6_0000 - 8, 8)):
        assert mine[area[0] :][: area[1]] == theirs[area[0] :][: area[1]]


#: Services and hypercalls around two presses of the power button, and where the event goes.
EVENTS: list[tuple[str | int, ...]] = [
    *(("ibm,set-xive", 0x1000, 0, 5), (0x74,), (0x68, 0xFF), (0x70, 0)),
    *(("event-scan", 0xFFFF_FFFF, 0, 0x45_8000, 2048), (0x70, 0), (0x74,), (0x64, 0xFF00_1000)),
    *(("check-exception", 0x500, 0x1000, 0x1000_0000, 0, 0x45_8100, 2048), (0x70, 0)),
    *((0x74,), (0x64, 0xFF00_1000)),
    *(("check-exception", 0x500, 0x1000, 0x4000_0000, 0, 0x45_8200, 2048), (0x70, 0)),
    *((0x74,), (0x64, 0xFF00_1000)),
    *(("check-exception", 0x500, 0x1000, 0x5000_0000, 1, 0x45_8300, 2048, 0), (0x70, 0)),
    *((0x74,), ("check-exception", 0x500, 0x1000, 0xFFFF_FFFF, 0, 0x45_8400, 2048), (0x74,)),
]


@pytest.mark.parametrize("version", ["2.5", "2.9", "7.2"])
def test_the_power_button_is_heard_alike(
    tmp_path: Path, start: Callable[..., QemuStation], version: str
) -> None:
    calls: list[tuple[int, ...]] = []
    blocks = bytearray()
    for call in EVENTS:
        if isinstance(call[0], str):
            calls.append((0xF000, 0x45_0000 + len(blocks)))
            block = [TOKENS[call[0]], len(call) - 1, 1, *map(int, call[1:]), 0x5555]
            blocks += pack(f">{len(block)}I", *block).ljust(64, b"\0")
        else:
            calls.append(tuple(map(int, call)))
    image = rows(calls)
    image[0x5_0000 : 0x5_0000 + len(blocks)] = blocks
    path = kernel(tmp_path, bytes(image))
    machine = f"pseries-{version}"
    station = start("-M", f"{machine},x-vof=on,{CAPS['970mp_v1.1']}", "-kernel", str(path), "-S")
    out = tmp_path / "memory"
    mine, theirs = run_both(path, station, len(calls), out, ("-M", machine), presses=2)
    for n, row in enumerate(EVENTS):
        at = 0x2_0000 + 72 * n
        assert unpack_from(">9Q", mine, at) == unpack_from(">9Q", theirs, at), (n, row)
    assert mine[0x5_0000:0x5_8000] == theirs[0x5_0000:0x5_8000]
    for at in range(0x5_8000, 0x5_8500, 0x100):
        got, want = bytearray(mine[at:][:0x100]), bytearray(theirs[at:][:0x100])
        got[32:40] = want[32:40]  # date and time
        got[64:68] = got[64:68][::-1]  # QEMU has the log's number in its host's order
        assert got == want, hex(at)
    assert mine[0x5_8200:0x5_8204] == bytes.fromhex("06340040")


@pytest.mark.parametrize("cpus", ["1", "3"])
def test_the_tree_is_qemus(tmp_path: Path, qemu64: Path, cpus: str) -> None:
    path, blob = kernel(tmp_path, CALLER), tmp_path / "blob"
    options = (*QEMU, "-nodefaults", "-nographic", "-serial", "null", "-monitor", "none")
    options += ("-smp", cpus)
    command = [str(qemu64), *options, "-kernel", str(path), "-append", "a=b"]
    command += ["-machine", f"dumpdtb={blob}"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    theirs, reserved = unflatten(blob.read_bytes())
    m = build(parse([*OURS, "-smp", cpus, "-kernel", str(path), "-append", "a=b"]))
    firmware = m.part("spapr").firmware  # type: ignore[attr-defined]
    assert reserved == firmware.reserved
    ours = {node.path: node.properties for node in firmware.root.walk()}
    want = {node.path: node.properties for node in theirs.walk()}
    assert list(ours) == list(want)
    differs = {
        (path.partition("@")[0], name)
        for path, properties in want.items()
        for name in {*properties, *ours[path]}
        if properties.get(name) != ours[path].get(name)
    }
    lists = {("/", "ibm,drc-names"), ("/", "ibm,drc-indexes")}
    lists |= {("/pci", "ibm,drc-names"), ("/pci", "ibm,drc-indexes")}
    assert differs == {("/chosen", "rng-seed"), ("/rtas", "ibm,hypertas-functions"), *lists}
    for node, properties in want.items():
        assert list(ours[node]) == list(properties), node


NET = ("-nodefaults", "-cpu", "power8", "-netdev", "user,id=n")
CAPTURES = {
    "7.2-970mp-be-linux": OURS,
    "7.2-power8-linux": (*OURS, *NET, "-device", "virtio-net-pci,netdev=n"),
}


@pytest.fixture(scope="module", params=CAPTURES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def capture(shared: Path, name: str) -> bytes:
    """A running Linux of QEMU 7.2's: big-endian, and little-endian with a network card."""
    path = shared / "pseries" / "streams" / f"{name}.mig.xz"
    if not path.is_file():
        pytest.skip("the shared folder has no pseries")
    return lzma.decompress(path.read_bytes())


def test_a_capture_is_written_again(capture: bytes, name: str) -> None:
    """Every section, byte for byte."""
    assert changed_sections(capture, CAPTURES[name]) <= {"globalstate"}


def test_a_captured_linux_answers(capture: bytes, name: str, tmp_path: Path) -> None:
    file = tmp_path / "stream"
    file.write_bytes(capture)
    vm = Vm(parse([*CAPTURES[name], "-icount", "3,sleep=off"]))
    vm.incoming(f"file:{file}")
    said = bytearray()
    vm.machine.serials[0].transmit = said.extend
    vm.cont()
    for byte in b"\r":
        vm.machine.serials[0].receive(byte)
    vm.run(instructions=3_000_000)
    assert b"guest# " in said
    assert len(body_of(vm.machine.part("ics"))) == 32772
    vm.power_down()
    for _ in range(10):
        vm.run(instructions=3_000_000)
    assert b"Power off requested" in said
    assert b"reboot: Power down" in said
    assert vm.run_state == "shutdown"


BIG = ("int=38c318a5 fp=6dd83f22bde24e82 vec=fa58760a", "34d4bdbe", "00438077", "05486108")
LITTLE = ("int=47f833d5 fp=6dd83f22bde24e82 vec=f60eb647", "10570a8d", "fde6ab43", "222917ad")


@pytest.mark.parametrize(
    ("guest", "cpu", "title", "right"),
    [
        ("ppc64", "970mp_v1.1", "PPC970MP, altivec supported", BIG),
        ("ppc64le", "power8", "POWER8 (architected), altivec supported", LITTLE),
    ],
)
def test_linux_comes_to_its_shell_and_computes_right(
    shared: Path, tmp_path: Path, guest: str, cpu: str, title: str, right: tuple[str, ...]
) -> None:
    """Sums as on the 32-bit machines, and in qemu-user (guest/README.md)."""
    folder = shared / "pseries" / "guest" / guest
    if not folder.is_dir():
        pytest.skip("the shared folder has no pseries")
    path = tmp_path / "vmlinux"
    path.write_bytes(lzma.decompress((folder / "vmlinux.xz").read_bytes()))
    files = ["-kernel", str(path), "-initrd", str(folder / "initramfs.cpio.gz")]
    line = "console=hvc0 guest.run=selfcheck+-n+3"
    vm = Vm(parse([*OURS, "-cpu", cpu, "-icount", "3,sleep=off", *files, "-append", line]))
    said = bytearray()
    vm.machine.serials[0].transmit = said.extend
    while b"GUEST RUN DONE" not in said and vm.instructions < 400_000_000:
        vm.run(instructions=5_000_000)
    text = said.decode()
    assert "Linux version 6.1.192-pseriesguest" in text
    assert title in text
    assert "GUEST READY" in text
    sums, *chains = right
    for n, chain in enumerate(chains, 1):
        assert f"selfcheck i={n} {sums} chain={chain} ok" in text
    assert "GUEST RUN DONE rc=0" in text


def test_a_decrementer_goes_on_in_qemu(tmp_path: Path, start: Callable[..., QemuStation]) -> None:
    """Which QEMU's own saves do not."""
    code = DOTS.ljust(0x1_0000, b"\0") + HANDLER.ljust(0x100, b"\0")
    path = kernel(tmp_path, code)
    vm = Vm(parse([*OURS, "-icount", "3,sleep=off", "-kernel", str(path)]))
    said = bytearray()
    vm.machine.serials[0].transmit = said.extend
    vm.run(until_ns=205_000_000)
    assert bytes(said) == b"." * len(said)
    assert len(said) >= 18
    vm.power_down()
    pressed = list(vm.machine.part("spapr").events)  # type: ignore[attr-defined]
    sent = vm.migrate(f"file:{tmp_path}/stream", profile="qemu-7.2")
    lost = [line for line in sent.lost if "firmware's services" not in line]
    assert lost == ["spapr: the number of its next event's log entry"]
    assert sent.settled_ns < 20_000_000
    station = start("-incoming", f"exec:cat {tmp_path}/stream")
    station.wait_loaded()
    if station.status != "running":
        station.command("cont")
    station.expect(b"." * 30, 20.0)
    station.command("stop")
    station.migrate(f"exec:cat > {tmp_path}/back")
    again = Vm(parse([*OURS, "-icount", "3,sleep=off"]))
    again.incoming(f"file:{tmp_path}/back")
    assert again.machine.part("spapr").events == pressed  # type: ignore[attr-defined]
    del said[:]
    again.machine.serials[0].transmit = said.extend
    again.cont()
    again.run(until_ns=again.clock_ns + 205_000_000)
    assert len(said) >= 18
