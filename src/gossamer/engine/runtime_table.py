"""The MMU of 64-bit parts from native code: the segment lookaside buffer, the hash table.

The hypervisor's table (`core.htab`) is not in guest memory: the context has its address, and the
mask of a doubleword's number.  Where there is none, one group of zeros stands for it.
"""

from __future__ import annotations

from typing import Final

from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import Text
from gossamer.isa.architecture import SLB_ENTRIES
from gossamer.isa.evaluate import SLB_VALID, TABLE_COMPARED

_COMPARED: Final = int.from_bytes((TABLE_COMPARED & (1 << 64) - 1).to_bytes(8, "little"), "big")
_EIGHT: Final = "<8 x i32> <i32 0, i32 2, i32 4, i32 6, i32 8, i32 10, i32 12, i32 14>"


def _splat(value: str) -> str:
    return f"shufflevector <8 x i64> {value}, <8 x i64> poison, <8 x i32> zeroinitializer"


def tables_64(w: Text) -> str:
    """Looking at the SLB and the hash table."""
    field = w.field
    mask = _COMPARED - (1 << 64) if _COMPARED >> 63 else _COMPARED
    return f"""
; Doubleword %n, modulo their number, of the hash table.
define internal i64 @table_load(ptr %cpu, i64 %n) nounwind alwaysinline {{
{field("table", "table", "ptr")}
{field("table_mask", "mask", "i64")}
  %i = and i64 %n, %mask
  %p = getelementptr i64, ptr %table, i64 %i
  %raw = load i64, ptr %p{TB_TLB}
  %r = call i64 @llvm.bswap.i64(i64 %raw)
  ret i64 %r
}}
; Which of the eight entries of %group have the first doubleword %wanted (`Body.table_find`).
define internal i8 @table_find(ptr %cpu, i64 %group, i64 %wanted) nounwind {{
{field("table", "table", "ptr")}
{field("table_mask", "mask", "i64")}
  %n = shl i64 %group, 4
  %i = and i64 %n, %mask
  %p = getelementptr i64, ptr %table, i64 %i
  %all = load <16 x i64>, ptr %p, align 16{TB_TLB}
  %heads = shufflevector <16 x i64> %all, <16 x i64> poison, {_EIGHT}
  %raw = call i64 @llvm.bswap.i64(i64 %wanted)
  %w0 = insertelement <8 x i64> poison, i64 %raw, i32 0
  %ws = {_splat("%w0")}
  %m0 = insertelement <8 x i64> poison, i64 {mask}, i32 0
  %ms = {_splat("%m0")}
  %x = xor <8 x i64> %heads, %ws
  %y = and <8 x i64> %x, %ms
  %same = icmp eq <8 x i64> %y, zeroinitializer
  %bits = bitcast <8 x i1> %same to i8
  %r = call i8 @llvm.bitreverse.i8(i8 %bits)
  ret i8 %r
}}
; Sets doubleword %n when %when holds, and marks its group.
define internal void @table_store(ptr %cpu, i64 %n, i64 %value, i1 %when) nounwind {{
  br i1 %when, label %go, label %out
go:
{field("table", "table", "ptr")}
{field("table_mask", "mask", "i64")}
{field("table_dirty", "dirty", "ptr")}
  %i = and i64 %n, %mask
  %p = getelementptr i64, ptr %table, i64 %i
  %raw = call i64 @llvm.bswap.i64(i64 %value)
  store i64 %raw, ptr %p{TB_TLB}
  %g = lshr i64 %i, 4
  %d = getelementptr i8, ptr %dirty, i64 %g
  store i8 -1, ptr %d{TB_TLB}
  br label %out
out:
  ret void
}}
; The number of the first entry that translates %ea; {SLB_ENTRIES}: none does.
define internal i8 @slb_find(ptr %cpu, i64 %ea) nounwind noinline {{
entry:
  %esids = getelementptr i8, ptr %cpu, i64 {w.offset_of("slb_esid")}
  %vsids = getelementptr i8, ptr %cpu, i64 {w.offset_of("slb_vsid")}
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n1, %next ]
  %ep = getelementptr i64, ptr %esids, i64 %n
  %esid = load i64, ptr %ep{TB_CPU}
  %vp = getelementptr i64, ptr %vsids, i64 %n
  %vsid = load i64, ptr %vp{TB_CPU}
  %size = lshr i64 %vsid, 62
  %large = icmp eq i64 %size, 1
  %shift = select i1 %large, i64 40, i64 28
  %x = xor i64 %esid, %ea
  %differs = lshr i64 %x, %shift
  %same = icmp eq i64 %differs, 0
  %v = and i64 %esid, {SLB_VALID}
  %valid = icmp ne i64 %v, 0
  %is = and i1 %same, %valid
  br i1 %is, label %out, label %next
next:
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, {SLB_ENTRIES}
  br i1 %more, label %loop, label %out
out:
  %found = phi i64 [ %n, %loop ], [ {SLB_ENTRIES}, %next ]
  %r = trunc i64 %found to i8
  ret i8 %r
}}
"""
