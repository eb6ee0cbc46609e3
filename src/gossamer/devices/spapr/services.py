"""The run-time services of a machine without adapters: console, clock, interrupts, power, NVRAM.

Statuses are LoPAR's; where the book leaves a choice, as QEMU 7.2 answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gossamer.base.civil import date_of, days_of
from gossamer.base.units import NS_PER_S
from gossamer.devices.spapr.calls import GuestRam
from gossamer.devices.spapr.rtas import (
    HARDWARE_ERROR,
    NO_ERRORS_FOUND,
    NOT_SUPPORTED,
    OK,
    PARAMETER_ERROR,
    Results,
    Rtas,
)
from gossamer.devices.spapr.spapr import Rtc, Spapr
from gossamer.devices.spapr.vcpus import Vcpus
from gossamer.devices.spapr.vio import NVRAM_SIZE, Nvram, Terminal
from gossamer.devices.spapr.xics import MASKED, Ics

DAY_SECONDS: Final = 86_400
#: query-cpu-stopped-state: the CPU runs.
STOPPED, NOT_STOPPED = 0, 2
#: get-power-level: the domain that is the whole machine.
WHOLE, FULL_LEVEL = 0xFFFF_FFFF, 100
# System parameters (LoPAR table 118).
SPLPAR_CHARACTERISTICS, DIAGNOSTICS_RUN_MODE, UUID = 20, 42, 48


def add_console(rtas: Rtas, terminal: Terminal) -> None:
    def display(arguments: list[int]) -> Results:
        terminal.transmit(bytes((arguments[0] & 0xFF,)))
        return OK

    rtas.add("display-character", 1, 1, display)


def add_clock(rtas: Rtas, rtc: Rtc) -> None:
    def get(arguments: list[int]) -> Results:
        seconds, ns = divmod(rtc.now, NS_PER_S)
        days, second = divmod(seconds, DAY_SECONDS)
        date = date_of(days)
        return [OK, *date, second // 3600, second // 60 % 60, second % 60, ns]

    def set_(arguments: list[int]) -> Results:
        year, month, day, hour, minute, second, ns = arguments[:7]
        if hour > 23 or minute > 59 or second > 59 or ns >= NS_PER_S or not 1900 <= year <= 9999:
            return PARAMETER_ERROR
        try:
            days = days_of(year, month, day)
        except ValueError:
            return PARAMETER_ERROR
        rtc.set((days * DAY_SECONDS + hour * 3600 + minute * 60 + second) * NS_PER_S + ns)
        return OK

    rtas.add("get-time-of-day", 0, 8, get)
    rtas.add("set-time-of-day", 7, 1, set_)


def add_power(
    rtas: Rtas,
    power_off: Callable[[], None],
    reset: Callable[[], None],
    crashed: Callable[[], None],
) -> None:
    """`crashed` is called when the guest says that it has panicked."""

    def then(action: Callable[[], None]) -> Callable[[list[int]], Results]:
        def service(arguments: list[int]) -> Results:
            action()
            return OK

        return service

    rtas.add("power-off", 2, 1, then(power_off))
    rtas.add("system-reboot", 0, 1, then(reset))
    rtas.add("ibm,os-term", 1, 1, then(crashed))
    rtas.add(
        "get-power-level",
        1,
        2,
        lambda a: [OK, FULL_LEVEL] if a[0] == WHOLE else [PARAMETER_ERROR, 0],
    )


def add_cpus(rtas: Rtas, vcpus: Vcpus) -> None:
    """CPUs stop themselves, and are started by others."""

    def query(arguments: list[int]) -> Results:
        target = vcpus.find(arguments[0])
        if target is None:
            return [PARAMETER_ERROR, 0]
        return [OK, STOPPED if target.stopped else NOT_STOPPED]

    def start(arguments: list[int]) -> Results:
        number, address, argument = arguments[:3]
        target = vcpus.find(number)
        if target is None:
            return PARAMETER_ERROR
        if not target.stopped:
            return HARDWARE_ERROR
        target.start(vcpus.caller, address, argument)
        return OK

    def stop_self(arguments: list[int]) -> Results:
        vcpus.caller.stop()
        return OK

    rtas.add("query-cpu-stopped-state", 1, 2, query)
    rtas.add("start-cpu", 3, 1, start)
    rtas.add("stop-self", 0, 0, stop_self)


def add_interrupts(rtas: Rtas, ics: Ics) -> None:
    def set_(arguments: list[int]) -> Results:
        number, server, priority = arguments[:3]
        if ics.source(number) is None or server not in ics.servers or priority > MASKED:
            return PARAMETER_ERROR
        ics.set_xive(number, server, priority, priority)
        return OK

    def get(arguments: list[int]) -> Results:
        one = ics.source(arguments[0])
        return [PARAMETER_ERROR, 0, 0] if one is None else [OK, one.server, one.priority]

    def off(arguments: list[int]) -> Results:
        one = ics.source(arguments[0])
        if one is None:
            return PARAMETER_ERROR
        ics.set_xive(arguments[0], one.server, MASKED, one.priority)
        return OK

    def on(arguments: list[int]) -> Results:
        one = ics.source(arguments[0])
        if one is None:
            return PARAMETER_ERROR
        ics.set_xive(arguments[0], one.server, one.saved_priority, one.saved_priority)
        return OK

    rtas.add("ibm,set-xive", 3, 1, set_)
    rtas.add("ibm,get-xive", 1, 3, get)
    rtas.add("ibm,int-off", 1, 1, off)
    rtas.add("ibm,int-on", 1, 1, on)


def add_nvram(rtas: Rtas, nvram: Nvram, ram: GuestRam) -> None:
    def fetch(arguments: list[int]) -> Results:
        offset, address, length = arguments[:3]
        if offset + length > NVRAM_SIZE or not ram.has(address, length):
            return [PARAMETER_ERROR, 0]
        ram.write(address, bytes(nvram.buf[offset : offset + length]))
        return [OK, length]

    def store(arguments: list[int]) -> Results:
        offset, address, length = arguments[:3]
        if offset + length > NVRAM_SIZE or not ram.has(address, length):
            return [PARAMETER_ERROR, 0]
        nvram.buf[offset : offset + length] = ram.read(address, length)
        return [OK, length]

    rtas.add("nvram-fetch", 3, 2, fetch)
    rtas.add("nvram-store", 3, 2, store)


def add_parameters(rtas: Rtas, ram: GuestRam, values: Mapping[int, bytes]) -> None:
    """`values`: system parameters that can be read."""

    def get(arguments: list[int]) -> Results:
        number, address, length = arguments[:3]
        value = values.get(number)
        if value is None:
            return NOT_SUPPORTED
        data = (len(value).to_bytes(2, "big") + value)[:length]
        if not ram.has(address, len(data)):
            return PARAMETER_ERROR
        ram.write(address, data)
        return OK

    rtas.add("ibm,get-system-parameter", 3, 1, get)


def add_events(rtas: Rtas, spapr: Spapr, ram: GuestRam, *, nmi: bool = True) -> None:
    """check-exception: the oldest event, in the guest's buffer; event-scan has none of its own.

    `nmi`: machine checks can be delivered to the guest.
    """

    def look(mask: int, address: int, length: int) -> Results:
        event = spapr.event(mask)
        if event is None:
            return NO_ERRORS_FOUND
        if not ram.has(address, min(length, len(event))):
            return PARAMETER_ERROR
        ram.write(address, event[:length])
        spapr.event_taken()
        return OK

    def check(arguments: list[int]) -> Results:
        return look(arguments[2], arguments[4], arguments[5])

    def scan(arguments: list[int]) -> Results:
        spapr.remind()
        return NO_ERRORS_FOUND

    def register(arguments: list[int]) -> Results:
        reset, check_ = arguments[:2]
        if not ram.has(reset, 4) or not ram.has(check_, 4):
            return PARAMETER_ERROR
        spapr.fwnmi_reset, spapr.fwnmi_check = reset, check_
        return OK

    def interlock(arguments: list[int]) -> Results:
        if not spapr.fwnmi_check or spapr.fwnmi_interlock < 0:
            return PARAMETER_ERROR
        spapr.fwnmi_interlock = -1
        return OK

    rtas.add("check-exception", 6, 1, check)
    rtas.add("event-scan", 4, 1, scan)
    if nmi:
        rtas.add("ibm,nmi-register", 2, 1, register)
        rtas.add("ibm,nmi-interlock", 0, 1, interlock)
