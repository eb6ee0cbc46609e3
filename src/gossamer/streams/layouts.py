"""Layouts of the sections that Mac streams of QEMU have, for streams without a description.

The text below is read at import: `name version` opens a layout, then a field a line:
`name type[:size] [*count] [?condition] [@since]`.  `*n` is a number or the name of a field read
before; `?n` and `?n&8` ask whether such a field (masked) is not zero; `@2` from section version 2
on; `=layout` is a struct, `<name version` … `>` a possible subsection.  Source: facts on QEMU 7.2.
"""

from __future__ import annotations

import re
from typing import Final

from gossamer.base.data import Data, field
from gossamer.base.errors import ConfigError, StreamError
from gossamer.base.wire import WireReader
from gossamer.migrate.framing import Configuration, Kind, Section
from gossamer.migrate.inspect import Schema
from gossamer.migrate.source import Source
from gossamer.migrate.vmdesc import MAX_COUNT, SCALARS, SIGNED, FieldDesc, StructDesc
from gossamer.streams import slirp
from gossamer.streams.machine_layouts import MachineLayouts

TEXT: Final = """
timer 2
  cpu_ticks_offset int64
  unused unused_buffer:8
  cpu_clock_offset int64 @2
  <timer/icount 1
    qemu_icount_bias int64
    qemu_icount int64
    <timer/icount/warp_timer 1
      vm_clock_warp_start int64
      icount_warp_timer timer
    >
    <timer/icount/timers 1
      icount_rt_timer timer
      icount_vm_timer timer
    >
    <timer/icount/shift 1
      icount_time_shift int16
    >
    <timer/icount/shift 2
      icount_time_shift int16
      last_delta int64
    >
  >
cpu_common 1
  halted uint32
  interrupt_request uint32
  <cpu_common/exception_index 1
    exception_index int32
  >
  <cpu_common/crash_occurred 1
    crash_occurred bool
  >
cpu 5
  unused unused_buffer:4
  env.gpr uint32 *32
  env.gprh uint32 *32
  env.crf uint32 *8
  env.nip uint32
  env.spr uint32 *1024
  env.spe_acc uint64
  env.reserve_addr uint32
  env.msr uint32
  env.hflags_compat_nmsr uint32
  <cpu/fpu 1
    env.vsr fpr *32
    env.fpscr uint32
  >
  <cpu/altivec 1
    env.vsr avr *32
    vscr cpu/altivec/vscr:4
  >
  <cpu/sr 1
    env.sr uint32 *32
  >
  <cpu/tlb6xx 1
    env.nb_tlb int32 equal
    env.tlb.tlb6 =tlb6xx_entry *env.nb_tlb
    env.tgpr uint32 *4
  >
  <cpu/reservation 1
    env.reserve_addr uint32
    env.reserve_length uint32
    env.reserve_val uint32
  >
  <cpu/rtas_stopped 1
    env.quiesced bool
  >
tlb6xx_entry 1
  pte0 uint32
  pte1 uint32
  EPN uint32
PCIHost 1
  config_reg uint32
PCIBUS 1
  nirq int32 equal
  irq_count int32 *nirq
dbdma 3
  channels =dbdma_channel *32
dbdma_channel 1
  regs uint32 *16
  io =dbdma_io
  current =dbdma_cmd
dbdma_io 0
  addr uint64
  len int32
  is_last int32
  is_dma_out int32
  processing bool
dbdma_cmd 0
  req_count uint16
  command uint16
  phy_addr uint32
  cmd_dep uint32
  res_count uint16
  xfer_status uint16
escc 2
  chn =escc_chn *2
escc_chn 2
  vmstate_dummy uint32
  reg uint32
  rxint uint32
  txint uint32
  rxint_under_svc uint32
  txint_under_svc uint32
  rx uint8
  tx uint8
  wregs buffer:16
  rregs buffer:16
heathrow_pic 1
  pics =heathrow_pic_one *2
heathrow_pic_one 0
  events uint32
  mask uint32
  levels uint32
  level_triggered uint32
mos6522 1
  a uint8
  b uint8
  dira uint8
  dirb uint8
  sr uint8
  acr uint8
  pcr uint8
  ifr uint8
  ier uint8
  last_irq_levels uint8 @1
  timers =mos6522_timer *2
mos6522_timer 0
  latch uint16
  counter_value uint16
  load_time int64
  next_irq_time int64
  timer timer
cuda 6
  mos6522_cuda.parent_obj =mos6522
  last_b uint8
  last_acr uint8
  data_in_size int32
  data_in_index int32
  data_out_index int32
  data_in buffer:128
  data_out buffer:16
  tick_offset uint32
  sr_delay_timer timer
pmu 1
  mos6522_pmu.parent_obj =mos6522
  last_b uint8
  cmd uint8
  cmdlen uint32
  rsplen uint32
  cmd_buf_pos uint8
  cmd_buf buffer:128
  cmd_rsp_pos uint8
  cmd_rsp_sz uint8
  cmd_rsp buffer:128
  intbits uint8
  intmask uint8
  tick_offset uint32
  one_sec_timer timer
  one_sec_target int64
  <pmu/adb 1
    adb_reply_size uint8
    adb_reply buffer:16
  >
macio_gpio 0
  gpio_levels uint8 *8
  gpio_regs uint8 *36
adb_bus 0
  autopoll_timer timer
  autopoll_enabled bool
  autopoll_rate_ms uint8
  autopoll_mask uint16
  autopoll_blocked bool
adb_device 0
  devaddr int32
  handler int32
adb_kbd 2
  parent_obj =adb_device
  data buffer:128
  rptr int32
  wptr int32
  count int32
adb_mouse 2
  parent_obj =adb_device
  buttons_state int32
  last_buttons_state int32
  dx int32
  dy int32
  dz int32
macio_nvram 1
  data buffer:8192
ide 5
  bus =ide_bus
  bus.ifs[0] =ide_drive
  bus.ifs[1] =ide_drive
  dma_active bool
  timing_reg uint32
  irq_reg uint32
ide_bus 1
  cmd uint8
  unit uint8
  <ide_bus/error 2
    error_status int32
    retry_sector_num int64
    retry_nsector uint32
    retry_unit uint8
  >
ide_drive 3
  mult_sectors int32
  identify_set int32
  identify_data buffer:512 ?identify_set
  feature uint8
  error uint8
  nsector uint32
  sector uint8
  lcyl uint8
  hcyl uint8
  hob_feature uint8
  hob_sector uint8
  hob_nsector uint8
  hob_lcyl uint8
  hob_hcyl uint8
  select uint8
  status uint8
  lba48 uint8
  sense_key uint8
  asc uint8
  cdrom_changed uint8
  <ide_drive/pio_state 1
    req_nb_sectors int32
    io_buffer buffer:131076
    cur_io_buffer_offset int32
    cur_io_buffer_len int32
    end_transfer_fn_idx uint8
    elementary_transfer_size int32
    packet_transfer_size int32
  >
  <ide_drive/tray_state 1
    tray_open bool
    tray_locked bool
  >
  <ide_drive/atapi/gesn_state 1
    events.new_media bool
    events.eject_request bool
  >
PCIDevice 2
  version_id int32 le
  config[0] pci config:256
  irq_state pci irq state:16
macio-oldworld 0
  parent_obj.parent =PCIDevice
macio-newworld 0
  parent_obj.parent =PCIDevice
vga 2
  dev =PCIDevice
  vga =vga-common
vga-common 2 vga
  latch uint32
  sr_index uint8
  sr buffer:8
  gr_index uint8
  gr buffer:16
  ar_index uint8
  ar buffer:21
  ar_flip_flop int32
  cr_index uint8
  cr buffer:256
  msr uint8
  fcr uint8
  st00 uint8
  st01 uint8
  dac_state uint8
  dac_sub_index uint8
  dac_read_index uint8
  dac_write_index uint8
  dac_cache buffer:3
  palette buffer:768
  bank_offset int32
  is_vbe_vmstate uint8 equal
  vbe_index uint16
  vbe_regs uint16 *10
  vbe_start_addr uint32
  vbe_line_offset uint32
  vbe_bank_mask uint32
  <vga.endian 1
    big_endian_fb bool
  >
ne2000 3
  dev =PCIDevice
  ne2000 =ne2000-core
ne2000-core 2 ne2000
  rxcr uint8
  cmd uint8
  start uint32
  stop uint32
  boundary uint8
  tsr uint8
  tpsr uint8
  tcnt uint16
  rcnt uint16
  rsar uint32
  rsr uint8
  isr uint8
  dcfg uint8
  imr uint8
  phys buffer:6
  curpag uint8
  mult buffer:8
  unused unused_buffer:4
  mem buffer:49152
fw_cfg 2
  cur_entry uint16
  cur_offset[1] uint32
  <fw_cfg/dma 0
    dma_addr uint64
  >
globalstate 1
  size uint32
  runstate buffer:100
openpic 3
  gcr uint32
  vir uint32
  pir uint32
  spve uint32
  tfrr uint32
  max_irq uint32
  src =openpic_irqsource *max_irq
  nb_cpus uint32 equal
  dst =openpic_irqdest
  timers =openpic_timer *4
  msi =openpic_msi *8
  irq_ipi0 uint32
  irq_tim0 uint32
  irq_msi uint32
openpic_irqsource 0
  ivpr uint32
  idr uint32
  destmask uint32
  last_cpu int32
  pending int32
openpic_irqdest 0
  ctpr int32
  raised =openpic_irq_queue
  servicing =openpic_irq_queue
  outputs_active uint32 *5
openpic_irq_queue 0
  queue bitmap:40
  next int32
  priority int32
openpic_timer 0
  tccr uint32
  tbcr uint32
openpic_msi 0
  msir uint32
ohci 1
  parent_obj =PCIDevice
  state =ohci-core
ohci-core 1
  sof_time int64
  ctl uint32
  status uint32
  intr_status uint32
  intr uint32
  hcca uint32
  ctrl_head uint32
  ctrl_cur uint32
  bulk_head uint32
  bulk_cur uint32
  per_cur uint32
  done uint32
  done_count int32
  fsmps uint16
  fit uint8
  fi uint16
  frt uint8
  frame_number uint16
  padding uint16
  pstart uint32
  lst uint32
  rhdesc_a uint32
  rhdesc_b uint32
  rhstatus uint32
  rhport =ohci-core/port *15
  hstatus uint32
  hmask uint32
  hreset uint32
  htest uint32
  old_ctl uint32
  usb_buf uint8 *8192
  async_td uint32
  async_complete bool
  <ohci-core/eof-timer 1
    eof_timer timer
  >
ohci-core/port 1
  ctrl uint32
sungem 0
  pdev =PCIDevice
  conf.macaddr buffer:6
  phy_addr uint32
  gregs uint32 *2048
  txdmaregs uint32 *1024
  rxdmaregs uint32 *2048
  macregs uint32 *128
  mifregs uint32 *8
  pcsregs uint32 *24
  rx_mask uint32
  tx_mask uint32
  tx_data uint8 *9016
  tx_size uint32
  tx_first_ctl uint64
usb-kbd 1
  dev =USBDevice
  hid =HIDKeyboardDevice
usb-ptr 1
  dev =USBDevice
  hid =HIDPointerDevice
USBDevice 1
  addr uint8
  state int32
  remote_wakeup int32
  setup_state int32
  setup_len int32
  setup_index int32
  setup_buf uint8 *8
HIDKeyboardDevice 1
  kbd.keycodes uint32 *16
  head uint32
  n uint32
  kbd.modifiers uint16
  kbd.leds uint8
  kbd.key uint8 *16
  kbd.keys int32
  protocol int32
  idle uint8
HIDPointerDevice 1
  ptr.queue =HIDPointerEventQueue *16
  head uint32
  n uint32
  protocol int32
  idle uint8
HIDPointerEventQueue 1
  xdx int32
  ydy int32
  dz int32
  buttons_state int32
"""

MACHINES: Final = ("g3beige", "mac99")
_MOST: Final = 16 << 20
_FIELD: Final = re.compile(
    r"(?P<name>\S+) (?P<type>=?[A-Za-z0-9_/.-]+(?: [a-z]+)*)(?::(?P<size>\d+))?"
    r"(?: \*(?P<count>\S+))?(?: \?(?P<when>\S+))?(?: @(?P<since>\d+))?$"
)


class _Line(Data, frozen=False):
    name: str
    type: str
    size: int
    count: str | None
    when: str | None
    since: int


class _Layout(Data, frozen=False):
    vmsd: str
    version: int
    fields: list[_Line] = field(default_factory=list)
    subsections: list[_Layout] = field(default_factory=list)


def _read(text: str) -> dict[str, _Layout]:
    found: dict[str, _Layout] = {}
    stack: list[_Layout] = []
    for line in filter(None, text.splitlines()):
        body = line.strip()
        if not line.startswith(" "):
            name, version, *vmsd = body.split(" ")
            stack = [_Layout(vmsd[0] if vmsd else name, int(version))]
            found[name] = stack[0]
        elif body == ">":
            stack.pop()
        elif body.startswith("<"):
            name, version = body[1:].split(" ")
            sub = _Layout(name, int(version))
            stack[-1].subsections.append(sub)
            stack.append(sub)
        else:
            stack[-1].fields.append(_line(body))
    return found


def _line(body: str) -> _Line:
    part = _FIELD.match(body)
    assert part, body
    kind = part["type"]
    size = int(part["size"] or 0) or SCALARS.get(kind, 0)
    assert size or kind.startswith("="), body
    return _Line(part["name"], kind, size, part["count"], part["when"], int(part["since"] or 0))


LAYOUTS: Final = _read(TEXT)


def for_machine(configuration: Configuration | None, machine: str | None = None) -> Schema | None:
    """Layouts for a machine that we know, else None; `machine` where the stream names none."""
    name = configuration.machine if configuration is not None else machine
    if name in MACHINES:
        return MacLayouts()
    if name is None:
        return None
    try:
        return MachineLayouts(name)
    except ConfigError:
        if configuration is None:
            raise  # the user has named it
        return None


class MacLayouts:
    """Measures bodies of Mac streams by looking at the values that decide their lengths."""

    def layout(self, section: Section, source: Source) -> StructDesc | None:
        if section.idstr == slirp.IDSTR:
            return slirp.layout(section, source)
        name = section.idstr.rpartition("/")[2]
        made = LAYOUTS.get(name)
        if made is None or not _loadable(made, section.version_id):
            return None
        have = 1 << 14
        while True:
            have = source.fill(have)
            reader = WireReader(source.window, source.offset)
            reader.parts = list(source.parts)
            try:
                return _measure(made, reader, section.version_id)
            except StreamError:
                more = source.fill(have * 2)
                if more == have or have > _MOST:
                    raise
                have = more


def _loadable(made: _Layout, version: int) -> bool:
    # The form of QEMU 5.2: the same without the fields that are since 1.
    return version == made.version or (made.vmsd == "mos6522" and version == 0)


def _measure(made: _Layout, reader: WireReader, version: int) -> StructDesc:
    values: dict[str, int] = {}
    fields = []
    for line in made.fields:
        if line.since <= version and _present(line, values):
            with reader.within(line.name):
                fields.append(_field(line, reader, values))
    subsections = []
    while (sub := _next_subsection(made, reader)) is not None:
        subsections.append(sub)
    return StructDesc(made.vmsd, version, tuple(fields), tuple(subsections))


def _present(line: _Line, values: dict[str, int]) -> bool:
    if line.when is None:
        return True
    name, _, mask = line.when.partition("&")
    return bool(values[name] & int(mask or "-1", 0))


def _field(line: _Line, reader: WireReader, values: dict[str, int]) -> FieldDesc:
    name, bracket, index = line.name.partition("[")
    number = int(index[:-1]) if bracket and line.type.startswith("=") else None
    name = name if number is not None else line.name
    count = None
    if line.count is not None:
        count = int(line.count) if line.count.isdigit() else values[line.count]
        if not 0 <= count <= MAX_COUNT:
            raise reader.error(f"{count} elements")
    if line.type.startswith("="):
        inner = LAYOUTS[line.type[1:]]
        if count == 0:
            none = StructDesc(inner.vmsd, inner.version, ())
            return FieldDesc(name, "struct", 0, 0, number, none)
        structs = [_measure(inner, reader, inner.version) for _ in range(count or 1)]
        return FieldDesc(name, "struct", structs[0].length, count, number, structs[0])
    raw = reader.take(line.size * (1 if count is None else count))
    if count is None and line.type in SCALARS:
        values[line.name] = int.from_bytes(raw, "big", signed=line.type in SIGNED)
    return FieldDesc(name, line.type, line.size, count)


def _next_subsection(made: _Layout, reader: WireReader) -> StructDesc | None:
    head = reader.peek(2)
    if len(head) < 2 or head[0] != Kind.SUBSECTION:
        return None
    raw = reader.peek(6 + head[1])
    name, version = raw[2 : 2 + head[1]], int.from_bytes(raw[2 + head[1] :], "big")
    for sub in made.subsections:
        if sub.vmsd.encode() == name and sub.version == version:
            reader.take(6 + len(name))
            with reader.within(sub.vmsd):
                return _measure(sub, reader, version)
    return None
