"""Chips from native code: registers that are still (`core.region`), plain bytes, else Python.

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

; Where byte %ra of a chip is that is nothing but bytes; null: it is not of one, or not a byte.
define internal ptr @plain_byte(ptr %cpu, {ra} %ra, i32 %size) nounwind {{
{w.wide("low", "ra")}
{field("bytes_at", "at", "i64")}
{field("bytes_size", "there", "i64")}
  %off = sub i64 %low, %at
  %in = icmp ult i64 %off, %there
  %one = icmp eq i32 %size, 1
  %is = and i1 %in, %one
  br i1 %is, label %yes, label %no
yes:
{field("bytes_first", "first", "i64")}
{field("bytes_shift", "shift", "i64")}
{field("bytes", "bytes", "ptr")}
  %from = add i64 %off, %first
  %n = lshr i64 %from, %shift
  %place = getelementptr i8, ptr %bytes, i64 %n
  ret ptr %place
no:
  ret ptr null
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
  %place = call ptr @plain_byte(ptr %cpu, {ra} %ra, i32 %size)
  %is = icmp ne ptr %place, null
  br i1 %is, label %byte, label %python
byte:
  %b = load i8, ptr %place
  %bw = zext i8 %b to i64
  ret i64 %bw
python:
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
  %where.at = or i64 %low, %high
  %key = or i64 %where.at, {HELD_STORE}
  %where = call ptr @held(ptr %cpu, i64 %key)
  %have = icmp ne ptr %where, null
  br i1 %have, label %compare, label %ask
compare:
  %v = load i64, ptr %where{TB_CPU}
  %idle = icmp eq i64 %v, %value
  br i1 %idle, label %out, label %ask
ask:
  %place = call ptr @plain_byte(ptr %cpu, {ra} %ra, i32 %size)
  %is = icmp ne ptr %place, null
  br i1 %is, label %byte, label %python
byte:
  %b = trunc i64 %value to i8
  store i8 %b, ptr %place
{field("held_era", "era", "i64")}
  %later = add i64 %era, 1
{w.store("held_era", "i64", "%later")}
  br label %out
python:
{field("store_callback", "cb", "ptr")}
  call void %cb({ra} %ra, i64 %value, i32 %size)
  br label %out
out:
  ret void
}}
"""
