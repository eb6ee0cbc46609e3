"""Chips from native code: values held of registers that are still (`core.region`), else Python.

A slot holds, for one key (real address | size << 32 | `HELD_STORE` for a store), the value that a
load gives or that a store changes nothing with; it counts while its era is the present one.  Python
begins a new era whenever a chip may have changed.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.context import HELD, HELD_SLOT, HELD_STORE
from gossamer.engine.emit import TB_CPU
from gossamer.engine.runtime_fields import Text

_SPREAD: Final = 0x9E37_79B9_7F4A_7C15 - (1 << 64)

#: Beyond 4 GiB nothing is held or learned: keys have no room for such an address.
_NEAR: Final = """  %beyond = lshr i64 %ra, 32
  %far = icmp ne i64 %beyond, 0
  br i1 %far, label %ask, label %near
near:"""


def devices(w: Text) -> str:
    """Accesses where no RAM is."""
    field, ra = w.field, w.ra
    near = _NEAR if ra == "i64" else ""
    return f"""
; The one slot that may hold something for %key.
define internal ptr @held_slot(ptr %cpu, i64 %key) nounwind alwaysinline {{
  %h = mul i64 %key, {_SPREAD}
  %n = lshr i64 %h, {64 - (HELD.bit_length() - 1)}
  %o = mul i64 %n, {HELD_SLOT}
  %slots = getelementptr i8, ptr %cpu, i64 {w.offset_of("held")}
  %slot = getelementptr i8, ptr %slots, i64 %o
  ret ptr %slot
}}

; Holds %value for %key in this era.
define void @hold(ptr %cpu, i64 %key, i64 %value) nounwind {{
  %slot = call ptr @held_slot(ptr %cpu, i64 %key)
  store i64 %key, ptr %slot{TB_CPU}
  %ep = getelementptr i8, ptr %slot, i64 8
{field("held_era", "era", "i64")}
  store i64 %era, ptr %ep{TB_CPU}
  %vp = getelementptr i8, ptr %slot, i64 16
  store i64 %value, ptr %vp{TB_CPU}
  ret void
}}

; Where the value held for %key is, null when none is.
define internal ptr @held(ptr %cpu, i64 %key) nounwind alwaysinline {{
  %slot = call ptr @held_slot(ptr %cpu, i64 %key)
  %k = load i64, ptr %slot{TB_CPU}
  %ep = getelementptr i8, ptr %slot, i64 8
  %era = load i64, ptr %ep{TB_CPU}
{field("held_era", "now", "i64")}
  %same = icmp eq i64 %k, %key
  %young = icmp eq i64 %era, %now
  %valid = and i1 %same, %young
  %vp = getelementptr i8, ptr %slot, i64 16
  %r = select i1 %valid, ptr %vp, ptr null
  ret ptr %r
}}

; A load of %size bytes at real %ra, where no RAM is.
define internal i64 @device_load(ptr %cpu, {ra} %ra, i32 %size) nounwind {{
{near}
  %move = call ptr @learned_load(ptr %cpu, {ra} %ra, i32 %size)
  %knows = icmp ne ptr %move, null
  br i1 %knows, label %repeat, label %look
repeat:
  %rp = getelementptr i8, ptr %move, i64 16
  %result = load i64, ptr %rp{TB_CPU}
  call void @go_on_to(ptr %cpu, ptr %move)
  ret i64 %result
look:
{w.wide("low", "ra")}
  %sw = zext i32 %size to i64
  %high = shl i64 %sw, 32
  %key = or i64 %low, %high
  %where = call ptr @held(ptr %cpu, i64 %key)
  %have = icmp ne ptr %where, null
  br i1 %have, label %give, label %ask
give:
  %v = load i64, ptr %where{TB_CPU}
  ret i64 %v
ask:
{field("load_callback", "cb", "ptr")}
  %m = call i64 %cb({ra} %ra, i32 %size)
  ret i64 %m
}}

; A store of %size bytes at real %ra, where no RAM is.
define internal void @device_store(ptr %cpu, {ra} %ra, i64 %value, i32 %size) nounwind {{
{near}
  %done = call i1 @learned_store(ptr %cpu, {ra} %ra, i64 %value, i32 %size)
  br i1 %done, label %out, label %look
look:
{w.wide("low", "ra")}
  %sw = zext i32 %size to i64
  %high = shl i64 %sw, 32
  %place = or i64 %low, %high
  %key = or i64 %place, {HELD_STORE}
  %where = call ptr @held(ptr %cpu, i64 %key)
  %have = icmp ne ptr %where, null
  br i1 %have, label %compare, label %ask
compare:
  %v = load i64, ptr %where{TB_CPU}
  %idle = icmp eq i64 %v, %value
  br i1 %idle, label %out, label %ask
ask:
{field("store_callback", "cb", "ptr")}
  call void %cb({ra} %ra, i64 %value, i32 %size)
  br label %out
out:
  ret void
}}
"""
