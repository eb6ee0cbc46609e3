"""The registers that gdb reads are those that QEMU's server gives for the same program."""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gossamer.front.gdb.packets import checksum
from gossamer.isa.text import assemble_program
from tests.conftest import program
from tests.front.gdb.test_server import Client
from tests.front.qmp.client import connected

pytestmark = pytest.mark.interop
AT = 0x4000
#: gdb's numbers: r0 to r31, pc msr cr lr ctr xer, f0 to f31, fpscr; vr0 to vr31, vscr, vrsave.
CORE = [*range(32), *range(64, 70), *range(71, 104)]
FPSCR = 103
VECTORS = [*range(104, 138)]
PROGRAM = """\
        lis     3,0x7fff
        ori     3,3,0xffff
        addi    4,3,1
        addo.   5,3,3
        subfc   6,3,4
        adde    7,5,6
        mullw   8,3,7
        divw    9,3,5
        cntlzw  10,9
        rlwimi  10,3,7,3,20
        srawi.  11,4,5
        cmplwi  3,11,12
        crorc   5,2,9
        mfcr    12
        stw     12,0x5000(0)
        lha     13,0x5000(0)
        lwbrx   14,0,15
        bl      1f
1:      mflr    16
        li      17,3
        mtctr   17
2:      addic.  18,17,-1
        bdnz    2b
        rlwinm  12,12,0,0,2
        mtxer   12
        stmw    28,0x5010(0)
        lmw     28,0x5010(0)
        stfd    1,0x5020(0)
        lfs     2,0x5000(0)
        fadd    3,1,2
        fmul.   4,3,2
        fmadd   5,1,3,4
        fcmpu   6,3,4
        frsp    7,5
        fneg    8,7
        fdiv    10,8,3
"""
MORE = """\
        vspltisw 1,-5
        vspltish 2,7
        vaddsws 3,1,2
        vmrghb  4,1,3
        vperm   5,1,3,4
        vmulesh 6,2,5
        vcmpgtsw. 7,3,1
        stvx    5,0,15
        lvx     8,0,15
        vsum4sbs 9,5,8
        vpkuwus 10,6,9
        vaddfp  11,10,9
        mtspr   256,3
"""


class Peer:
    """A client of any server: asks, and waits for the answer."""

    def __init__(self, path: Path) -> None:
        self.socket = connected(str(path))
        self.rest = b""
        self.ask(b"qSupported:multiprocess+")

    def ask(self, body: bytes) -> bytes:
        self.socket.sendall(b"$" + body + b"#" + checksum(body))
        while (found := re.search(rb"\$([^#]*)#..", self.rest)) is None:
            data = self.socket.recv(65536)
            assert data, f"it hung up on {body!r}"
            self.rest += data
        self.rest = self.rest[found.end() :]
        self.socket.sendall(b"+")
        return found[1]


@contextmanager
def qemu(machine: str, cpu: str) -> Iterator[Peer]:
    command = program("qemu-system-ppc", "qemu-system-ppc")
    with tempfile.TemporaryDirectory(prefix="gsm-") as folder:
        path = Path(folder) / "gdb"
        options = f"-M {machine} -cpu {cpu} -m 64 -S -display none -serial null -monitor none"
        with subprocess.Popen(
            [command, *options.split(), "-gdb", f"unix:{path},server=on,wait=off"]
        ) as process:
            try:
                peer = Peer(path)
                with closing(peer.socket):
                    yield peer
            finally:
                process.kill()


def differ(number: int, ours: bytes, theirs: bytes) -> bool:
    """QEMU does not keep FPSCR's FR and FI (docs/isa-deviations.md)."""
    if number == FPSCR:
        return bool((int(ours, 16) ^ int(theirs, 16)) & ~0x0006_0000)
    return ours != theirs


@pytest.mark.parametrize(("machine", "cpu"), [("g3beige", "750"), ("mac99", "7400")])
def test_every_register_is_qemus_at_each_step(machine: str, cpu: str) -> None:
    vectors = cpu == "7400"
    code = assemble_program(PROGRAM + (MORE if vectors else ""), AT).code
    numbers = CORE + (VECTORS if vectors else [])
    ours = Client("-M", machine, "-cpu", cpu)
    rng = random.Random(int(cpu))
    with qemu(machine, cpu) as theirs:
        for peer in (ours, theirs):
            peer.ask(b"Hg0")
            peer.ask(b"qXfer:features:read:target.xml:0,ffb")  # QEMU knows p only then
        assert theirs.ask(b"Qqemu.sstep=7") == b"OK"

        def both(body: bytes) -> tuple[bytes, bytes]:
            return ours.ask(body), theirs.ask(body)

        for at in range(0, len(code), 64):
            piece = code[at : at + 64]
            assert both(b"M%x,%x:%s" % (AT + at, len(piece), piece.hex().encode()))[1] == b"OK"
        assert both(b"M5000,40:" + rng.randbytes(64).hex().encode()) == (b"OK", b"OK")
        for n in range(32):
            both(b"P%x=%s" % (n, rng.randbytes(4).hex().encode()))
            both(b"P%x=%016x" % (71 + n, 0x3FF0_0000_0000_0000 + rng.getrandbits(56)))
            if vectors:
                both(b"P%x=%s" % (104 + n, rng.randbytes(16).hex().encode()))
        both(b"P%x=%08x" % (15, 0x5030))
        both(b"P%x=%08x" % (65, 0x0200_2000 if vectors else 0x2000))
        for number in (66, 67, 68, 69, 103):
            both(b"P%x=%08x" % (number, 0))
        both(b"P40=%08x" % AT)
        for step in range(len(code) // 4 + 4):
            different = {n: pair for n in numbers if differ(n, *(pair := both(b"p%x" % n)))}
            assert not different, f"after {step} steps: {different}"
            assert [answer[:3] for answer in both(b"s")] == [b"T05", b"T05"]
        assert len(set(both(b"m5000,40"))) == 1
