"""Run-time abstraction services: what a guest calls by token (LoPAR chapter 7).

An argument block lies in guest memory: token, two counts, arguments, results; all cells of 32
bits.  Tokens are those of QEMU 7.2, since a guest keeps the ones that it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from gossamer.core.trace import QUIET, Trace
from gossamer.devices.spapr.calls import PARAMETER, SUCCESS, GuestRam, Registers

H_RTAS: Final = 0xF000
BASE: Final = 0x2000
#: Bytes that a guest sets aside for the services' code, and for each CPU beside.
SIZE, SIZE_OF_CPU = 0x81C, 16
#: Arguments and results of a block, each.
MOST: Final = 64

# Statuses (LoPAR 7.2.8).
OK: Final = 0
NO_ERRORS_FOUND: Final = 1
HARDWARE_ERROR, PARAMETER_ERROR, NOT_SUPPORTED = -1, -3, -3

NAMES: Final = (
    "display-character",
    "get-time-of-day",
    "set-time-of-day",
    "power-off",
    "system-reboot",
    "query-cpu-stopped-state",
    "start-cpu",
    "stop-self",
    "ibm,get-system-parameter",
    "ibm,set-system-parameter",
    "ibm,set-xive",
    "ibm,get-xive",
    "ibm,int-off",
    "ibm,int-on",
    "check-exception",
    "event-scan",
    "ibm,set-tce-bypass",
    "quiesce",
    "nvram-fetch",
    "nvram-store",
    "read-pci-config",
    "write-pci-config",
    "ibm,read-pci-config",
    "ibm,write-pci-config",
    "ibm,query-interrupt-source-number",
    "ibm,change-msi",
    "set-indicator",
    "set-power-level",
    "get-power-level",
    "get-sensor-state",
    "ibm,configure-connector",
    "ibm,os-term",
    "ibm,set-eeh-option",
    "ibm,get-config-addr-info2",
    "ibm,read-slot-reset-state2",
    "ibm,set-slot-reset",
    "ibm,configure-pe",
    "ibm,slot-error-detail",
    "ibm,query-pe-dma-window",
    "ibm,create-pe-dma-window",
    "ibm,remove-pe-dma-window",
    "ibm,reset-pe-dma-window",
    "ibm,suspend-me",
    "ibm,nmi-register",
    "ibm,nmi-interlock",
)
"""In the order of their tokens, from `BASE` on."""
TOKENS: Final = {name: BASE + n for n, name in enumerate(NAMES)}

Results = int | Sequence[int]
Service = Callable[[list[int]], Results]
"""Takes a call's arguments; gives its results, the status first."""


class Rtas:
    """The services of a machine.  What has no service is not supported."""

    def __init__(self, ram: GuestRam, trace: Trace = QUIET) -> None:
        self.ram, self.trace = ram, trace
        self._services: dict[int, tuple[int, int, Service, Service]] = {}

    def add(
        self,
        name: str,
        arguments: int,
        results: int,
        service: Service,
        *,
        longer: Service | None = None,
    ) -> None:
        """Let `service` answer; it is called with so many arguments, for so many results.

        `longer` answers instead where a caller has room for more results.
        """
        token = TOKENS[name]
        assert token not in self._services, name
        self._services[token] = arguments, results, service, longer or service

    def call(self, regs: Registers) -> int:
        """H_RTAS: r4 is the address of the argument block."""
        at, ram = regs.get("gpr", 4), self.ram
        if not ram.has(at, 12):
            return PARAMETER
        token, count, wanted = ram.words(at, 3)
        if count > MOST or wanted > MOST or not ram.has(at + 12, 4 * (count + wanted)):
            return PARAMETER
        arguments = ram.words(at + 12, count)
        found = self._services.get(token)
        known = BASE <= token < BASE + len(NAMES)
        if found is None:
            name = NAMES[token - BASE] if known else f"token {token:#x}"
            self.trace.event("rtas", f"{name} is not supported")
            results: Results = NOT_SUPPORTED
        elif count < found[0] or wanted < found[1]:
            results = PARAMETER_ERROR
        else:
            service = found[3] if wanted > found[1] else found[2]
            results = service(arguments)
        listed = [results] if isinstance(results, int) else results
        ram.put_words(at + 12 + 4 * count, listed[:wanted])
        return SUCCESS if known else PARAMETER
