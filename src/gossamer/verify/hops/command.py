"""`gossamer verify hops`: one running guest goes gossamer, QEMU, gossamer, … over sockets.

It computes all the time.  Each leg is reported: how long the guest stood still, how many bytes
went over, what was lost and what was repaired.  Exit status 0 only when the guest's own output is
right.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

from gossamer.base.data import Data, asdict
from gossamer.base.errors import ConfigError, GossamerError
from gossamer.base.units import tick_time
from gossamer.control.standstill import Sent
from gossamer.control.steps import InThread, wait_for
from gossamer.control.vm import Vm
from gossamer.machines.config import Config
from gossamer.machines.options import parse
from gossamer.migrate.channels import Limits, Listener
from gossamer.verify.hops.guests import Traveller, traveller
from gossamer.verify.hops.qemu import PATIENCE_S, PROGRAM, QemuStation

SHIFT: Final = 5
GAP: Final = 150_000
"""Instructions between two typed bytes (4.8 ms at shift 5)."""
STEP: Final = 1_000_000
PER_SECOND: Final = 31_250_000
"""Instructions in a second of virtual time."""
OURS_ONLY: Final = "timebase="
"""A property of the machine that QEMU has not: each release has its own."""
COMMON: Final = ("-nographic", "-serial", "null", "-monitor", "none")
SERVER: Final = "pseries"
SERVER_PROGRAM: Final = "qemu-system-ppc64"
SERVER_CPU: Final = "970mp_v1.1"
#: What QEMU's TCG needs switched off, by CPU.
_CAPABILITIES: Final = {SERVER_CPU: ",cap-vsx=off,cap-dfp=off,cap-htm=off"}
_OTHER_CAPABILITIES: Final = ",cap-htm=off"
LIMITS: Final = Limits(meet=PATIENCE_S, stall=PATIENCE_S, total=PATIENCE_S)


class Leg(Data):
    """One hop."""

    number: int
    sender: str
    receiver: str
    standstill_ms: float
    stream_bytes: int
    lost: tuple[str, ...]
    repaired: tuple[str, ...]


class GossamerStation:
    """A `Vm` with a console that is typed at and read."""

    name = "gossamer"

    def __init__(self, config: Config) -> None:
        self.vm = Vm(config)
        self.output = bytearray()
        self.vm.serial_sinks = [self.output.extend]

    def age(self) -> None:
        """Before the first instruction: a machine that has been on for 2**32 ticks of its TB.

        QEMU 7.2 would move a younger guest's time base on to there.
        """
        machine = self.vm.machine
        machine.processor.set_clock(int(tick_time(1 << 32, machine.cpu.tb_hz)))
        machine.reset()

    @property
    def seconds(self) -> float:
        """Virtual time."""
        return self.vm.clock_ns / 1e9

    def expect(self, text: bytes, seconds: float, start: int = 0) -> None:
        """Run until the guest has printed `text`; `seconds` of virtual time at the most."""
        limit = self.vm.instructions + int(seconds * PER_SECOND)
        while text not in self.output[start:]:
            if self.vm.instructions >= limit:
                tail = bytes(self.output[-200:])
                raise GossamerError(f"the guest does not print {text!r}; it printed {tail!r}")
            self.run(STEP)

    def run(self, instructions: int) -> None:
        self.vm.run(instructions=instructions, until_ns=self.vm.clock_ns + 32 * instructions)

    def send(self, uri: str, profile: str) -> Sent:
        """Send the machine while its guest runs on, as it does in the loop."""
        steps = self.vm.transfers.send(uri, profile=profile, limits=LIMITS)
        self.vm.cont()
        try:
            waiting = next(steps)
            while True:
                if self.vm.run_state == "running":
                    self.run(STEP)
                if isinstance(waiting, InThread):
                    waiting.start(lambda: None)
                    assert waiting.thread is not None
                    while waiting.thread.is_alive() and self.vm.run_state == "running":
                        self.run(STEP)
                    waiting.thread.join()
                    waiting = waiting.send_to(steps)
                else:
                    waiting = steps.send(wait_for(waiting))
        except StopIteration as end:
            sent: Sent = end.value
            return sent

    def type(self, text: bytes) -> None:
        for byte in text:
            for _ in range(1000):
                if self.vm.serial_room(0):
                    break
                self.run(GAP)
            self.vm.serial_receive(0, byte)
            self.run(GAP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to let go of."""


class _Qemu(QemuStation):
    name = "qemu"


Place = GossamerStation | _Qemu


def is_server(machine: str) -> bool:
    """Whether it is a pseries, of whatever version."""
    return machine.startswith(SERVER)


class Journey:
    """The whole way of one guest."""

    def __init__(
        self,
        guest: Traveller,
        machine: str,
        profile: str = "qemu-7.2",
        program: str = "",
        dwell: float = 0.5,
        *,
        aged: bool = False,
        cpu: str = "",
        cpus: int = 1,
    ) -> None:
        self.aged = aged
        self.guest, self.profile, self.dwell = guest, profile, dwell
        server = is_server(machine)
        self.program = program or (SERVER_PROGRAM if server else PROGRAM)
        theirs = ",".join(part for part in machine.split(",") if not part.startswith(OURS_ONLY))
        both = ["-m", guest.memory]
        if server:
            cpu = cpu or SERVER_CPU
            theirs += ",x-vof=on" + _CAPABILITIES.get(cpu, _OTHER_CAPABILITIES)
            both.append("-nodefaults")
        both += ["-cpu", cpu] if cpu else []
        both += ["-smp", str(cpus)] if cpus != 1 else []
        rate = ("-icount", f"shift={SHIFT},sleep=off")
        self.config = parse(["-M", machine, *both, *COMMON, *rate, *guest.options])
        self.qemu_options = ("-M", theirs, *both, *guest.station_options)
        self.legs: list[Leg] = []

    def go(self, hops: int, say: Any = print) -> str:  # noqa: ANN401 - something like print
        """All the hops; the guest's last word."""
        here: Place = self._start(say)
        for number in range(1, hops + 1):
            self.guest.leave(here, number)
            with tempfile.TemporaryDirectory(prefix="hops-") as folder:
                there, leg = self._hop(here, number, Path(folder))
                self.legs.append(leg)
                say(_line(leg))
                here = there
                try:
                    self.guest.arrive(here, number)
                    self._stay(here)
                except BaseException:
                    here.__exit__()
                    raise
        with here:
            return self.guest.end(here)

    def _start(self, say: Any) -> GossamerStation:  # noqa: ANN401
        home = GossamerStation(self.config)
        if self.aged:
            home.age()
        began = home.vm.clock_ns
        self.guest.start(home)
        say(f"the guest is up after {(home.vm.clock_ns - began) / 1e9:.1f} s of its time")
        return home

    def _stay(self, here: Place) -> None:
        if isinstance(here, GossamerStation):
            here.run(int(self.dwell * PER_SECOND))
        else:
            here.listen(self.dwell)

    def _hop(self, here: Place, number: int, folder: Path) -> tuple[Place, Leg]:
        if isinstance(here, GossamerStation):
            return self._to_qemu(here, number, folder)
        with here:
            return self._from_qemu(here, number, folder)

    def _to_qemu(self, here: GossamerStation, number: int, folder: Path) -> tuple[Place, Leg]:
        uri = f"unix:{folder}/machine"
        there = _Qemu(folder, *self.qemu_options, "-incoming", uri, program=self.program)
        try:
            sent = here.send(uri, self.profile)
            there.wait_loaded()
        except BaseException as fault:
            there.close()
            if isinstance(fault, GossamerError) and there.last_words:
                raise GossamerError(f"{fault}; QEMU says: {there.last_words}") from None
            raise
        there.output += here.output
        still = sent.standstill_ns / 1e6
        return there, Leg(number, "gossamer", "qemu", still, sent.stream_bytes, sent.lost, ())

    def _from_qemu(self, here: _Qemu, number: int, folder: Path) -> tuple[Place, Leg]:
        there = GossamerStation(self.config)
        listener = Listener(f"unix:{folder}/machine", LIMITS)
        here.command("migrate", uri=listener.uri)
        received = there.vm.incoming(listener)
        arrived = time.time()
        here.wait_sent()
        stopped = here.stopped_at or arrived
        while here.listen(0.01):
            pass
        there.output += here.output
        return there, Leg(
            number, "qemu", "gossamer", (arrived - stopped) * 1e3, received.stream_bytes, (),
            received.repaired,
        )  # fmt: skip


def _line(leg: Leg) -> str:
    head = (
        f"{leg.number:3} {leg.sender:>8} -> {leg.receiver:8} stood still {leg.standstill_ms:7.1f} "
        f"ms, {leg.stream_bytes:9} bytes"
    )
    losses = [f"      lost: {text}" for text in leg.lost]
    return "\n".join([head, *losses, *(f"      repaired: {text}" for text in leg.repaired)])


# --- command line ---------------------------------------------------------------------------------


def add_parser(parsers: Any) -> None:  # noqa: ANN401 - argparse names no type for it
    """The options of `gossamer verify hops`."""
    made = parsers.add_parser("hops", help="send a guest to QEMU and back, again and again")
    made.add_argument("-M", "--machine", default="g3beige")
    made.add_argument("--cpu", default="", help="CPU model (the machine's own)")
    made.add_argument("--smp", type=int, default=1, help="CPUs, as of -smp (1)")
    made.add_argument("--guest", default="openbios", help="openbios or linux")
    made.add_argument("--hops", type=int, default=4)
    made.add_argument("--kernel", type=Path, help="Linux (or GOSSAMER_LINUX_KERNEL)")
    made.add_argument("--initrd", type=Path, help="its RAM disk (or GOSSAMER_LINUX_INITRD)")
    made.add_argument("--profile", default="qemu-7.2", help="the form of the stream for QEMU")
    made.add_argument(
        "--qemu", default="", help=f"the program ({PROGRAM}; of a {SERVER} {SERVER_PROGRAM})"
    )
    made.add_argument("--dwell", type=float, default=0.5, help="seconds at each station")
    made.add_argument(
        "--young",
        action="store_true",
        help="let Linux begin with a time base of 0, which QEMU 7.2 makes jump at the first hop",
    )
    made.add_argument("--json", action="store_true", help="the legs as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 0: the guest's output is right; 1: it is not."""
    if arguments.hops < 1:
        raise ConfigError(f"--hops: expected a positive number, got {arguments.hops}")
    server = is_server(arguments.machine)
    console = "hvc0" if server else "ttyPZ0"
    if server and arguments.guest != "linux":
        raise ConfigError(f"--guest: {SERVER} runs linux, got {arguments.guest!r}")
    guest = traveller(arguments.guest, arguments.kernel, arguments.initrd, console)
    journey = Journey(
        guest,
        arguments.machine,
        arguments.profile,
        arguments.qemu,
        arguments.dwell,
        aged=arguments.guest == "linux" and not arguments.young and not server,
        cpu=arguments.cpu,
        cpus=arguments.smp,
    )
    began = time.monotonic()
    quiet = arguments.json
    failed = ""
    word = ""
    try:
        word = journey.go(arguments.hops, (lambda text: None) if quiet else _say)
    except GossamerError as fault:
        failed = str(fault)
    took = time.monotonic() - began
    if quiet:
        legs = [asdict(leg) for leg in journey.legs]
        print(json.dumps({"legs": legs, "seconds": took, "word": word, "failed": failed}))
    else:
        done = f"{len(journey.legs)} of {arguments.hops} hops in {took:.1f} s"
        print(f"{done}: {'WRONG: ' + failed if failed else word}")
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, flush=True)
