"""What depends on the host's architecture: letting it fetch code that was just written."""

from __future__ import annotations

import llvmlite.binding as llvm

_HEAD = "define void @code_fresh(i64 %start, i64 %end) nounwind {"

#: Source: Arm ARM, B2.4.4: clean the data cache, invalidate the instruction cache, synchronize.
_AARCH64 = """
entry:
  %first = and i64 %start, -16
  br label %clean
clean:
  %a = phi i64 [ %first, %entry ], [ %a1, %clean ]
  call void asm sideeffect "dc cvau, $0", "r,~{memory}"(i64 %a)
  %a1 = add i64 %a, 16
  %more1 = icmp ult i64 %a1, %end
  br i1 %more1, label %clean, label %cleaned
cleaned:
  call void asm sideeffect "dsb ish", "~{memory}"()
  br label %drop
drop:
  %b = phi i64 [ %first, %cleaned ], [ %b1, %drop ]
  call void asm sideeffect "ic ivau, $0", "r,~{memory}"(i64 %b)
  %b1 = add i64 %b, 16
  %more2 = icmp ult i64 %b1, %end
  br i1 %more2, label %drop, label %dropped
dropped:
  call void asm sideeffect "dsb ish", "~{memory}"()
  call void asm sideeffect "isb", "~{memory}"()
  ret void
}"""


def fresh_code() -> str:
    """``void code_fresh(start, end)``; on x86-64 the caches see to it themselves."""
    is_arm = llvm.get_process_triple().startswith(("aarch64", "arm64"))
    return _HEAD + (_AARCH64 if is_arm else "\n  ret void\n}")
