"""What the engines of several CPUs tell each other: pages that each has to forget, or to watch.

CPUs run in turn.  What one does to translations that others may keep is noted in a journal that
they share: a number that counts entries, then the last `JOURNAL` of them.  A CPU whose turn comes
carries out what it has not seen; where more was noted than is kept, it forgets every translation.
An entry is a page to forget (an effective address), or with `JOURNAL_CODE` an arena page that has
decoded code from now on, so that stores to it look.
"""

from __future__ import annotations

from gossamer.engine.context import JOURNAL, JOURNAL_CODE
from gossamer.engine.emit import TB_TLB
from gossamer.engine.runtime_fields import Text


def journal(w: Text) -> str:
    """``note``, ``note_all``, ``catch_up(cpu)`` and ``flush_for_all(cpu)``."""
    field, store, ea = w.field, w.store, w.ea
    forget = (
        """  %low = trunc i64 %event to i32
  call void @forget_page(ptr %cpu, i32 %low)
"""
        if ea == "i64"
        else "  call void @flush(ptr %cpu)\n"
    )
    return f"""
; %count more entries; a CPU that had seen all before has seen these.
define internal void @journal_on(ptr %cpu, i64 %count) nounwind {{
{field("journal", "journal", "ptr")}
{field("journal_seen", "seen", "i64")}
  %n = load i64, ptr %journal{TB_TLB}
  %n1 = add i64 %n, %count
  store i64 %n1, ptr %journal{TB_TLB}
  %all = icmp eq i64 %seen, %n
  %now = select i1 %all, i64 %n1, i64 %seen
{store("journal_seen", "i64", "%now")}
  ret void
}}
; Notes an entry, which this CPU has carried out.
define internal void @note(ptr %cpu, i64 %event) nounwind {{
{field("journal", "journal", "ptr")}
  %n = load i64, ptr %journal{TB_TLB}
  %k = and i64 %n, {JOURNAL - 1}
  %k1 = add i64 %k, 1
  %p = getelementptr i64, ptr %journal, i64 %k1
  store i64 %event, ptr %p{TB_TLB}
  call void @journal_on(ptr %cpu, i64 1)
  ret void
}}
; Every other CPU forgets all translations.
define internal void @note_all(ptr %cpu) nounwind {{
  call void @journal_on(ptr %cpu, i64 {JOURNAL + 1})
  ret void
}}
define void @flush_for_all(ptr %cpu) nounwind {{
  call void @flush(ptr %cpu)
  call void @note_all(ptr %cpu)
  ret void
}}
; Carries out what others have noted.
define void @catch_up(ptr %cpu) nounwind {{
entry:
{field("journal", "journal", "ptr")}
{field("journal_seen", "seen", "i64")}
  %n = load i64, ptr %journal{TB_TLB}
{store("journal_seen", "i64", "%n")}
  %behind = sub i64 %n, %seen
  %few = icmp ule i64 %behind, {JOURNAL}
  br i1 %few, label %loop, label %all
all:
  call void @flush(ptr %cpu)
  ret void
loop:
  %at = phi i64 [ %seen, %entry ], [ %next, %on ]
  %more = icmp ne i64 %at, %n
  br i1 %more, label %one, label %out
one:
  %k = and i64 %at, {JOURNAL - 1}
  %k1 = add i64 %k, 1
  %p = getelementptr i64, ptr %journal, i64 %k1
  %event = load i64, ptr %p{TB_TLB}
  %is_code = icmp slt i64 %event, 0
  br i1 %is_code, label %code, label %page
code:
  %arena = and i64 %event, {JOURNAL_CODE - 1}
  call void @protect_page(ptr %cpu, i64 %arena)
  br label %on
page:
{forget}  br label %on
on:
  %next = add i64 %at, 1
  br label %loop
out:
  ret void
}}
"""
