"""The versions of the pseries, as data: what a guest and a stream see of each.

As QEMU 7.2 has them, all measured there (`-M pseries-N,x-vof=on`, a 970MP and a POWER8): its
device trees (`dumpdtb`), its streams at power on and of a running Linux.  What stands below a field
says from which version on it is what the newest has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gossamer.base.data import Data, replace
from gossamer.devices.spapr import cas
from gossamer.devices.spapr.phb import Places
from gossamer.devices.spapr.processor_calls import INTERPRETED
from gossamer.devices.virtio.age import NEWEST, Age
from gossamer.machines.config import unknown
from gossamer.machines.kind import WHOLE_FRAME, Frame, Version

FIRST_IRQ: Final = 0x1000
#: Of a CPU's character, and its behaviour with those (LoPAR 14.5.4.15, as QEMU 7.2 answers).
BARRIERS, COUNT_CACHE = 0xBC << 56, 0x40 << 48
COUNT_CACHE_OFF: Final = 1 << 56
BEHAVIOUR: Final = 0xE4 << 56
EARLY_INPUT: Final = ("usb-kbd", "usb-mouse")
#: Virtio devices up to 7.1, 4.2, 4.0, 3.1, 2.7, 2.6, 2.4 and of 2.1.
NO_RESET: Final = Age(resets_queues=False)
SHORT: Final = replace(NO_RESET, queue_size=128, stops=False)
UNSTARTED: Final = replace(SHORT, starts=False)
UNMAPPED: Final = replace(UNSTARTED, discards=False)
PAGES: Final = replace(UNMAPPED, page_for_each=True)
LEGACY: Final = replace(PAGES, modern=False, without_layouts=frozenset({2}))
WITHOUT_EXTRA: Final = replace(LEGACY, sends_extra=False, offers_scsi=True)
OLDEST: Final = replace(WITHOUT_EXTRA, without_layouts=frozenset({2, 8}))
USB_INPUT: Final = (*EARLY_INPUT, "usb-tablet")


class Numbers(Data):
    """Interrupt sources: how many there are, and the numbers of those that have a fixed one.

    `hot_plug` 0: there are no such events.  `lsi`: that of INTA; `msi`: that of the first message,
    0: they are any that are free; `msis`: how many messages the tree says that there can be.
    `in_order`: each that asks gets the next, and the map of messages is not in streams.
    """

    sources: int
    epow: int
    hot_plug: int
    terminal: int
    nvram: int
    lsi: int
    msi: int
    msis: int
    in_order: bool = False


FIXED: Final = Numbers(
    sources=4096, epow=0x1000, hot_plug=0x1001, terminal=0x1100, nvram=0x1101,
    lsi=0x1200, msi=0x1300, msis=0xD00,
)  # fmt: skip
IN_ORDER: Final = Numbers(
    sources=1024, epow=0x1000, hot_plug=0x1001, terminal=0x1002, nvram=0x1003,
    lsi=0x1004, msi=0, msis=0x400, in_order=True,
)  # fmt: skip
EARLY: Final = replace(IN_ORDER, hot_plug=0, terminal=0x1001, nvram=0x1002, lsi=0x1003)

#: Windows of the bridge up to 2.7, and up to 2.2.
LOW: Final = Places(
    io=0x100_8000_0000,
    memory=0x100_A000_0000,
    memory64=0x101_2000_0000,
    memory64_size=0xF_0000_0000,
    bus64=0x1_0000_0000,
)
SMALL: Final = replace(LOW, memory_size=0x2000_0000, memory64=0, memory64_size=0)

#: Streams up to 2.3 do not name their machine; up to 2.2 they are not described either.
UNNAMED: Final = Frame(names_machine=False, footers=False, says_state=False)


class Era(Data):
    """What one version is like; the usual values are those of the newest."""

    name: str
    numbers: Numbers = FIXED
    """3.1 on: numbers are fixed."""
    page_shift: int = 16
    """log2 of the largest page that a guest may map; 3.0 on: 64 KiB, 16 GiB before."""
    spacing: int = 1
    """From a CPU's number to the next one's; 4.2 on: 1, 8 before."""
    sockets: bool = False
    """Each CPU is a chip of its own; 6.2 on: all are on one."""
    bridges: int = 31
    """Connectors of bridges that could be plugged in; 4.0 on."""
    probe_only: bool = True
    """The tree says whether PCI is set up by the firmware; 4.2 on."""
    persistent_memory: bool = True
    """The tree has a node for it; 5.0 on."""
    distances: bool = True
    """Associativity of form 2, tables of distances, for guests that know it; 6.2 on."""
    nodes_apart: bool = True
    """Three reference points of associativity; 5.1 on."""
    nmi: bool = True
    """Machine checks can be delivered to the guest (cap-fwnmi); 5.0 on."""
    counts_slb: bool = False
    """cpu/slb ends with the number of its entries; up to 2.12."""
    compat: bool = True
    """cpu/compat is in streams; 2.10 on."""
    areas: bool = True
    """spapr_cpu is in streams; 3.0 on."""
    transactions: bool = False
    """cap-htm is usually on, so that a stream says where it is off; up to 2.11."""
    tree: bool = True
    """spapr_dtb is in streams; 4.0 on."""
    says_page_size: bool = True
    """cap-hpt-max-page-size is in streams; 4.1 on."""
    dma_page_shift: int = 24
    """log2 of the largest page in a DMA window of the guest's; 4.2 on: 16 MiB, 64 KiB before.

    0: a guest can have no window beside the first; up to 2.6.
    """
    workarounds: bool = True
    """A POWER8 says that it has barriers against speculation (cap-cfpc, -sbbc, -ibs); 4.0 on."""
    assist: bool = True
    """… and one for its count cache (cap-ccf-assist); 5.0 on."""
    count_cache: bool = True
    """The count cache is on; in 2.12-sxxm it is said to be off (cap-ibs=fixed-ccd)."""
    virtio: Age = NEWEST
    """What its virtio devices have, but for the next two."""
    card_vectors: int = 4
    """Interrupt vectors of virtio-net-pci; 6.0 on, 3 before."""
    queue_for_each: bool = True
    """virtio-scsi-pci has a queue for each CPU; 5.2 on, one before."""
    monitor: bool = True
    """A display's monitor says what it can (edid); 4.1 on."""
    own_serial: bool = True
    """USB input devices have serial numbers by their places; 4.0 on, 42 before."""
    video_in_place: bool = True
    """A stream calls a display's memory after its place; 3.0 on."""
    extended: bool = True
    """Configuration space beyond 256 bytes can be reached; 2.9 on."""
    xhci: bool = True
    """Its USB controller is an xHCI; 2.6 on, an OHCI before."""
    extended_display: bool = True
    """Its display has registers beyond a PC's, its keyboard and mouse know USB 2; 2.2 on."""
    masks: bool = False
    """The CPU's section ends with masks, the bridge's has the places of its windows; up to 2.7."""
    places: Places = Places()
    """Windows of the bridge; 2.8 on."""
    keeps_options: bool = True
    """What was agreed on of vector 5 is in streams; 2.8 on."""
    cpus_plug: bool = True
    """CPUs could be plugged in: they have connectors; 2.7 on."""
    pools: bool = True
    """A logical LAN keeps what it is lent by size, not in the guest's page; 2.6 on."""
    memory_plugs: bool = True
    """Memory could be plugged in: the tree's root has connectors; 2.5 on."""
    slots: int = 256
    """Connectors of the bridge's functions that could be plugged in; 2.4 on."""
    frame: Frame = WHOLE_FRAME
    """2.4 on."""

    @property
    def offered(self) -> int:
        """Options of vector 5."""
        offered = cas.ASSOCIATIVITY_1 | cas.MEMORY_LISTS
        if self.memory_plugs:
            offered |= cas.MEMORY_CONNECTORS
        if self.numbers.hot_plug:
            offered |= cas.HOT_PLUG_EVENTS
        return offered | (cas.ASSOCIATIVITY_2 if self.distances else 0)

    def character(self, modern: bool) -> tuple[int, int]:
        """What H_GET_CPU_CHARACTERISTICS answers, `modern`: of a POWER8."""
        if not (modern and self.workarounds):
            return INTERPRETED
        if not self.count_cache:
            return BARRIERS | COUNT_CACHE_OFF, INTERPRETED[1]
        return BARRIERS | (COUNT_CACHE if self.assist else 0), BEHAVIOUR

    @property
    def devices(self) -> Mapping[str, Mapping[str, object]]:
        """Defaults of devices, by driver and property."""
        found: dict[str, Mapping[str, object]] = {}
        if not self.monitor:
            found["VGA"] = {"edid": False, "global-vmstate": not self.video_in_place}
        if not self.extended_display:
            found["VGA"] = {**found["VGA"], "qemu-extended-regs": False}
        if not self.own_serial:
            found |= {name: {"serial": "42"} for name in USB_INPUT}
        if not self.extended_display:
            for name in EARLY_INPUT:
                found[name] = {**found[name], "usb_version": 1}
        return found

    @property
    def switches(self) -> Mapping[tuple[str, str], object]:
        """Compat switches of the chips."""
        return {
            ("cpu", "counts_slb"): self.counts_slb,
            ("cpu", "slb_alone"): not self.counts_slb,
            ("cpu", "knows_compat"): self.compat,
            ("cpu", "keeps_compat"): not self.compat,
            ("cpu", "says_masks"): self.masks,
            ("spapr_pci", "says_places"): self.masks,
            ("spapr_llan", "has_pools"): self.pools,
            ("spapr", "says_options"): self.keeps_options,
            ("spapr", "keeps_options"): not self.keeps_options,
            ("spapr", "has_transactions"): self.transactions,
            ("spapr", "says_page_size"): self.says_page_size,
            ("spapr", "has_irq_map"): not self.numbers.in_order,
            ("spapr", "sends_tree"): self.tree,
            ("spapr", "keeps_tree"): not self.tree,
            ("spapr", "has_fwnmi"): self.nmi,
        }


EVIDENCE: Final = {
    "numbers, spacing, sockets, bridges, nodes, plugs, slots": "trees of three CPUs, every version "
    "(tried)",
    "offered": "negotiations of 2.1, 2.4, 2.5, 2.7, 2.9, 4.0, 6.1, 7.2 (tried)",
    "sections and subsections": "streams at power on, every version, 970MP and POWER8 (tried)",
    "compat, areas, nmi": "a running Linux, every version, both CPUs, there and back (tried)",
    "page_shift": "ibm,segment-page-sizes in trees; a Linux of 2.9 maps itself by 16 MiB (tried)",
    "monitor, own_serial, video_in_place, xhci, extended": "`info qtree` of every version; streams "
    "at power on",
    "pools": "515 buffers lent on 2.1, 2.5, 2.6; a card of 2.1 and 2.5 in use, there and back "
    "(tried)",
    "workarounds, assist": "84 hypercalls of 2.1, 2.6, 2.7, 2.8, 2.12, 2.12-sxxm, 3.1, 4.0, 4.2, "
    "5.0, 7.2, both CPUs (tried)",
    "dma_page_shift, virtio": "117 services for PCI of 4.1, 5.0, 6.0, 7.2; a disk, a card and an "
    "adapter of 2.7, 3.1, 4.0, 4.2, 5.2, 7.2 in use, there and back, of older ones at power on; "
    "properties in `info qtree` of every version (tried)",
    "beside QEMU 10.0.13": "a running Linux of 3.0 to 10.0, both CPUs, there and back (tried)",
    "8.0 to 10.0": "trees of three CPUs and streams at power on, both CPUs: in each version of "
    "10.0.13's as in its 7.2 (tried)",
}
"""Where it is known from, with QEMU 7.2.22."""


def _eras() -> tuple[Era, ...]:
    """From the newest to the oldest, each as what it has not of the one after it."""
    steps: tuple[tuple[str, dict[str, object]], ...] = (
        ("7.2", {}),
        ("7.1", {"virtio": NO_RESET}),
        ("7.0", {}),
        ("6.2", {}),
        ("6.1", {"sockets": True, "distances": False}),
        ("6.0", {}),
        ("5.2", {"card_vectors": 3}),
        ("5.1", {"queue_for_each": False}),
        ("5.0", {"nodes_apart": False}),
        ("4.2", {"persistent_memory": False, "nmi": False, "assist": False, "virtio": SHORT}),
        ("4.1", {"probe_only": False, "spacing": 8, "dma_page_shift": 16}),
        ("4.0", {"says_page_size": False, "monitor": False, "virtio": UNSTARTED}),
        (
            "3.1",
            {
                "bridges": 0,
                "tree": False,
                "workarounds": False,
                "own_serial": False,
                "virtio": UNMAPPED,
            },
        ),
        ("3.0", {"numbers": IN_ORDER}),
        (
            "2.12",
            {"page_shift": 34, "counts_slb": True, "areas": False, "video_in_place": False},
        ),
        ("2.11", {"transactions": True}),
        ("2.10", {}),
        ("2.9", {"compat": False}),
        ("2.8", {"extended": False}),
        (
            "2.7",
            {
                "masks": True,
                "places": LOW,
                "keeps_options": False,
                "numbers": EARLY,
                "virtio": PAGES,
            },
        ),
        ("2.6", {"dma_page_shift": 0, "cpus_plug": False, "virtio": LEGACY}),
        ("2.5", {"pools": False, "xhci": False}),
        ("2.4", {"memory_plugs": False, "virtio": WITHOUT_EXTRA}),
        ("2.3", {"slots": 0, "frame": UNNAMED}),
        ("2.2", {"places": SMALL, "frame": replace(UNNAMED, described=False)}),
        ("2.1", {"extended_display": False, "virtio": OLDEST}),
    )
    lacking: dict[str, object] = {}
    found = []
    for name, less in steps:
        lacking |= less
        found.append(Era(name=name, **lacking))  # type: ignore[arg-type]
        if name == "2.12":
            # Beside it: one whose POWER8 says what it has against speculation.
            found.insert(
                -1, replace(found[-1], name="2.12-sxxm", workarounds=True, count_cache=False)
            )
    return tuple(reversed(found))


ERAS: Final = _eras()
#: Versions that came after QEMU 7.2: with the CPUs that are here each is what 7.2 is.
LATER: Final = tuple(
    replace(ERAS[-1], name=name) for name in ("8.0", "8.1", "8.2", "9.0", "9.1", "9.2", "10.0")
)
#: What `pseries` is without a version.
USUAL: Final = "7.2"
#: Our own versions, and which of QEMU's each is for its guest and on the wire.  What our own
#: subsections are changes with the next one only.
OWN: Final = {"1.0": "7.2"}


def era(version: str) -> Era:
    """What the version is like."""
    for one in (*ERAS, *LATER):
        if one.name == OWN.get(version, version):
            return one
    raise unknown("version of pseries", version, NAMES)


def _version(name: str) -> Version:
    one = era(name)
    return Version(
        name,
        one.switches,
        one.devices,
        released=False,
        frame=one.frame,
    )


NAMES: Final = (*OWN, *(one.name for one in (*ERAS, *LATER)))
VERSIONS: Final = tuple(map(_version, NAMES))
