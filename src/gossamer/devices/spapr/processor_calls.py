"""Hypercalls about the calling CPU and plain memory (LoPAR 14.5.4.3, 14.5.4.4, 14.11).

Answers as measured with QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gossamer.base.units import PAGE_SIZE
from gossamer.devices.spapr.calls import (
    BAD_MODE,
    CONTINUE,
    HARDWARE,
    P2,
    P3,
    P4,
    PARAMETER,
    RESERVED_DABR,
    RESOURCE,
    SUCCESS,
    UNSUPPORTED_FLAG,
    GuestRam,
    Handler,
    Registers,
    arguments,
    results,
)
from gossamer.devices.spapr.spapr import SpaprCpu
from gossamer.devices.spapr.vcpus import LPCR_AIL, LPCR_ILE, MSR_EE, Vcpus

H_SET_SPRG0, H_SET_DABR, H_PAGE_INIT, H_SET_XDABR = 0x24, 0x28, 0x2C, 0x134
H_LOGICAL_CI_LOAD, H_LOGICAL_CI_STORE, H_LOGICAL_CACHE_LOAD, H_LOGICAL_CACHE_STORE = (
    *(0x3C, 0x40),
    *(0x44, 0x48),
)
H_LOGICAL_ICBI, H_LOGICAL_DCBF = 0x4C, 0x50
H_REGISTER_VPA, H_CEDE, H_CONFER, H_PROD, H_JOIN = 0xDC, 0xE0, 0xE4, 0xE8, 0x298
H_GET_CPU_CHARACTERISTICS, H_SET_MODE = 0x1C8, 0x31C
H_LOGICAL_MEMOP: Final = 0xF001

#: Functions of H_REGISTER_VPA.
VPA, DTL, SLB_SHADOW, NO_VPA, NO_DTL, NO_SLB_SHADOW = (n << 45 for n in (1, 2, 3, 5, 6, 7))
VPA_LEAST, VPA_ALIGNMENT, SLB_SHADOW_LEAST, DTL_LEAST = 640, 128, 8, 48
#: Of a VPA: its size, and the byte that says that the processor is shared, with what is set there.
VPA_SIZE_AT, VPA_SHARED_AT, VPA_SHARED = 4, 9, 2
#: Where a VPA counts how often its CPU was dispatched and ceased: odd while it does not run.
VPA_DISPATCHES_AT: Final = 0x100
#: H_CONFER: to all.
ALL: Final = (1 << 64) - 1

#: Resources of H_SET_MODE.
CIABR, DAWR, ALTERNATE_INTERRUPTS, ENDIAN = 1, 2, 3, 4

#: What they set in LPCR (Power ISA 2.07 Book III-S 2.2).
AIL_SHIFT: Final = 23

#: H_PAGE_INIT: zero the page, or copy it.
ZERO_PAGE, COPY_PAGE = 0x8000, 0x4000

#: Character and behaviour of a CPU without any barriers, as QEMU 7.2 answers for a 970MP.
INTERPRETED: Final = 0x0400_0000_0000_0000, 0xE000_0000_0000_0000


class ProcessorCalls:
    """The calls of a machine's CPUs; `modern`: they are parts with Power ISA 2.07.

    `character`: what H_GET_CPU_CHARACTERISTICS answers: character and behaviour.  `set_order`: a
    display's pixels are in the byte order of the guest's interrupts from now on.
    """

    def __init__(
        self,
        ram: GuestRam,
        vcpus: Vcpus,
        *,
        modern: bool = False,
        character: tuple[int, int] = INTERPRETED,
        set_order: Callable[[bool], None] = lambda big: None,
    ) -> None:
        self._set_order = set_order
        self.ram, self.vcpus, self._modern, self._character = ram, vcpus, modern, character

    def handlers(self) -> dict[int, Handler]:
        return {
            H_CEDE: self.cede,
            H_PROD: self.prod,
            H_CONFER: self.confer,
            H_JOIN: self.join,
            H_REGISTER_VPA: self.register_vpa,
            H_SET_SPRG0: _set_sprg0,
            H_SET_DABR: self.set_dabr,
            H_SET_XDABR: self.set_xdabr,
            H_SET_MODE: self.set_mode,
            H_GET_CPU_CHARACTERISTICS: self.characteristics,
            H_PAGE_INIT: self.page_init,
            H_LOGICAL_CI_LOAD: self.load,
            H_LOGICAL_CI_STORE: self.store,
            H_LOGICAL_CACHE_LOAD: self.load,
            H_LOGICAL_CACHE_STORE: self.store,
            H_LOGICAL_ICBI: lambda regs: SUCCESS,
            H_LOGICAL_DCBF: lambda regs: SUCCESS,
            H_LOGICAL_MEMOP: self.memory_operation,
        }

    # --- registers of the hypervisor ------------------------------------------------------------

    def set_dabr(self, regs: Registers) -> int:
        """r4: DABR, which a part with Power ISA 2.07 does not have."""
        if self._modern:
            return HARDWARE
        regs.set("dabr", regs.get("gpr", 4))
        return SUCCESS

    def set_xdabr(self, regs: Registers) -> int:
        """r4 DABR, r5 DABRX: which accesses are meant, and in which state."""
        value, extension = arguments(regs, 2)
        if self._modern:
            return HARDWARE
        if not 0 < extension <= 0xF:
            return RESERVED_DABR
        regs.set("dabr", value)
        return SUCCESS

    def characteristics(self, regs: Registers) -> int:
        """What speculation needs, in r4 and r5."""
        results(regs, *self._character)
        return SUCCESS

    # --- waiting ----------------------------------------------------------------------------------

    def cede(self, regs: Registers) -> int:
        """Wait for an interrupt, with interrupts enabled."""
        regs.set("msr", regs.get("msr") | MSR_EE)
        self.vcpus.caller.await_prod()
        return SUCCESS

    def prod(self, regs: Registers) -> int:
        """r4: the CPU that shall go on."""
        target = self.vcpus.find(regs.get("gpr", 4))
        if target is None:
            return PARAMETER
        target.prod()
        return SUCCESS

    def confer(self, regs: Registers) -> int:
        """r4: the CPU that shall run instead, -1: any; r5: its dispatches as the caller saw them.

        To itself: wait for H_PROD.  A CPU that has been dispatched since, or runs, needs nothing.
        """
        number, seen = arguments(regs, 2)
        if number == ALL:
            self.vcpus.pass_turn()
            return SUCCESS
        target, caller = self.vcpus.find(number), self.vcpus.caller
        if target is None:
            return PARAMETER
        if target is caller:
            caller.await_prod()
        elif target.own.vpa and seen & 1:
            at = target.own.vpa + VPA_DISPATCHES_AT
            if self.ram.has(at, 4) and self.ram.uint(at, 4) == seen & 0xFFFF_FFFF:
                self.vcpus.pass_turn()
        return SUCCESS

    def join(self, regs: Registers) -> int:
        """Wait for H_PROD alone, unless all others do."""
        if regs.get("msr") & MSR_EE:
            return BAD_MODE
        caller = self.vcpus.caller
        if all(one.stopped for one in self.vcpus.members if one is not caller):
            return CONTINUE
        caller.await_prod()
        return SUCCESS

    # --- modes ------------------------------------------------------------------------------------

    def set_mode(self, regs: Registers) -> int:
        """r4 flags, r5 resource, r6 and r7 values: where interrupts go, and their byte order.

        On a part before ISA 2.07 the order alone, which is the only one.
        """
        flags, resource, first, second = arguments(regs, 4)
        modern = self._modern
        if resource != ENDIAN and (resource != ALTERNATE_INTERRUPTS or not modern):
            return P2
        if first:
            return P3
        if second:
            return P4
        if resource == ENDIAN:
            if flags > (1 if modern else 0):
                return UNSUPPORTED_FLAG
            mask, value = LPCR_ILE, flags * LPCR_ILE
        else:
            if flags not in (0, 2, 3):
                return UNSUPPORTED_FLAG
            mask, value = LPCR_AIL, flags << AIL_SHIFT
        if resource == ENDIAN:
            self._set_order(not flags)
        if modern:
            self.vcpus.set_lpcr(mask, value)
        return SUCCESS

    # --- areas ------------------------------------------------------------------------------------

    def register_vpa(self, regs: Registers) -> int:
        """r4 function, r5 CPU, r6 address of the area."""
        function, number, address = arguments(regs, 3)
        target = self.vcpus.find(number)
        if target is None:
            return PARAMETER
        own = target.own
        if function == NO_VPA:
            if own.slb_shadow or own.dtl:
                return RESOURCE
            own.vpa = 0
        elif function == NO_SLB_SHADOW:
            own.slb_shadow = own.slb_shadow_size = 0
        elif function == NO_DTL:
            own.dtl = own.dtl_size = 0
        elif function == VPA:
            return self._register(own, address, 2, VPA_LEAST, self._set_vpa)
        elif function == SLB_SHADOW:
            return self._register(own, address, 4, SLB_SHADOW_LEAST, self._set_shadow)
        elif function == DTL:
            return self._register(own, address, 4, DTL_LEAST, self._set_log)
        else:
            return PARAMETER
        return SUCCESS

    def _register(
        self,
        own: SpaprCpu,
        address: int,
        width: int,
        least: int,
        take: Callable[[SpaprCpu, int, int], int],
    ) -> int:
        """Check an area, which says its own size, and take it."""
        if address == 0:
            return HARDWARE
        if not self.ram.has(address, 8):
            return PARAMETER
        size = self.ram.uint(address + VPA_SIZE_AT, width)
        if size < least or not self.ram.has(address, size):
            return PARAMETER
        return take(own, address, size)

    def _set_vpa(self, own: SpaprCpu, address: int, size: int) -> int:
        if address % VPA_ALIGNMENT or _crosses(address, size):
            return PARAMETER
        own.vpa = address
        at = address + VPA_SHARED_AT
        self.ram.put(at, self.ram.uint(at, 1) | VPA_SHARED, 1)
        return SUCCESS

    def _set_shadow(self, own: SpaprCpu, address: int, size: int) -> int:
        if _crosses(address, size):
            return PARAMETER
        if not own.vpa:
            return RESOURCE
        own.slb_shadow, own.slb_shadow_size = address, size
        return SUCCESS

    def _set_log(self, own: SpaprCpu, address: int, size: int) -> int:
        if not own.vpa:
            return RESOURCE
        own.dtl, own.dtl_size = address, size
        return SUCCESS

    # --- memory -----------------------------------------------------------------------------------

    def page_init(self, regs: Registers) -> int:
        """r4 flags, r5 a page, r6 the page to copy."""
        flags, page, source = arguments(regs, 3)
        if page % PAGE_SIZE or not self.ram.has(page, PAGE_SIZE):
            return PARAMETER
        if flags & COPY_PAGE:
            if source % PAGE_SIZE or not self.ram.has(source, PAGE_SIZE):
                return PARAMETER
            self.ram.write(page, self.ram.read(source, PAGE_SIZE))
        elif flags & ZERO_PAGE:
            self.ram.write(page, bytes(PAGE_SIZE))
        return SUCCESS

    def load(self, regs: Registers) -> int:
        """r4 bytes, r5 address: what is there in r4."""
        size, address = arguments(regs, 2)
        if size not in (1, 2, 4, 8) or not self.ram.has(address, size):
            return PARAMETER
        results(regs, self.ram.uint(address, size))
        return SUCCESS

    def store(self, regs: Registers) -> int:
        """r4 bytes, r5 address, r6 value."""
        size, address, value = arguments(regs, 3)
        if size not in (1, 2, 4, 8) or not self.ram.has(address, size):
            return PARAMETER
        self.ram.put(address, value, size)
        return SUCCESS

    def memory_operation(self, regs: Registers) -> int:
        """r4 destination, r5 source, r6 log2 of an element's bytes, r7 elements, r8 0 copy, 1 not.

        Bounded by the guest's memory: both ranges lie in it.
        """
        destination, source, shift, count, operation = arguments(regs, 5)
        if shift > 3 or operation > 1 or count > self.ram.size:
            return PARAMETER
        length = count << shift
        if (destination | source) & (1 << shift) - 1:
            return PARAMETER
        if not self.ram.has(destination, length) or not self.ram.has(source, length):
            return PARAMETER
        data = self.ram.read(source, length)
        if operation:
            data = bytes(0xFF ^ byte for byte in data)
        self.ram.write(destination, data)
        return SUCCESS


def _crosses(address: int, size: int) -> bool:
    """Whether an area lies in more than one page."""
    return address // PAGE_SIZE != (address + size - 1) // PAGE_SIZE


def _set_sprg0(regs: Registers) -> int:
    regs.set("sprg", regs.get("gpr", 4), 0)
    return SUCCESS
