"""Two orders of bytes: what follows where MSR[LE] changes.  Only of models that have both.

Tables of translations in force are for one order, and so are the decoded entries of a page; data
are looked at as `le` says.  Where MSR[LE] changes, every translation is forgotten; a page that is
fetched from then is *turned* if its entries are of the other order: they are forgotten.
"""

from __future__ import annotations

from gossamer.engine.context import EFFECT_CODES, WITH_REGIONS
from gossamer.engine.emit import TB_TLB
from gossamer.engine.runtime_code import forgetting
from gossamer.engine.runtime_fields import Text


def orders(w: Text) -> str:
    """`look_at_order`, `in_turn`; nothing for other models."""
    field, store = w.field, w.store
    if not w.addresses.orders:
        return ""
    return f"""
; MSR may have changed: LE, too.
define internal void @look_at_order(ptr %cpu) nounwind {{
{field("msr", "msr", "i64")}
{field("le", "old", "i64")}
  %new = and i64 %msr, 1
  %same = icmp eq i64 %new, %old
  br i1 %same, label %out, label %turn, !prof !9
turn:
{store("le", "i64", "%new")}
  call void @flush(ptr %cpu)
  br label %out
out:
  ret void
}}
; Arena page %page is about to be fetched from: its entries are to be of the CPU's order.
define internal void @in_turn(ptr %cpu, i64 %page) nounwind {{
{field("orders", "orders", "ptr")}
{field("le", "le", "i64")}
  %op = getelementptr i8, ptr %orders, i64 %page
  %order = load i8, ptr %op{TB_TLB}
  %wanted = trunc i64 %le to i8
  %same = icmp eq i8 %order, %wanted
  br i1 %same, label %out, label %turn, !prof !9
turn:
{field("ready", "flags", "ptr")}
  %fp = getelementptr i8, ptr %flags, i64 %page
  %f = load i8, ptr %fp{TB_TLB}
  %regions = icmp eq i8 %f, {WITH_REGIONS}
  br i1 %regions, label %ask, label %forget
ask:
  %arg = trunc i64 %page to i32
  call void @effect_python(ptr %cpu, i32 {EFFECT_CODES["turned"]}, i32 %arg)
  br label %forget
forget:
{forgetting(w)}
  store i8 %wanted, ptr %op{TB_TLB}
{field("turned", "turned", "ptr")}
  %n = load i64, ptr %turned{TB_TLB}
  %n1 = add i64 %n, 1
  store i64 %n1, ptr %turned{TB_TLB}
  br label %out
out:
  ret void
}}
"""
