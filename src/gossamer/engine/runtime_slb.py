"""Which tables of translations are in force on a part with an SLB.

Two banks are in force.  One has the supervisor's tables and is named by the SLB's entries for high
addresses, the kernel's (bit 0 set); its lines for low addresses go when an entry for such does, so
that the kernel's own stay from process to process.  The other has the user's tables and is named by
the entries for low addresses.  An entry that comes where none translated before changes no
translation: banks keep what they have, under their new name.  Names are sums of 128 bits over
entries, whatever their places; where two entries translate one address, which only a mistake
makes, everything is forgotten.

`segments_dirty` says what has to be done before tables are used: `CHANGED` (the SLB is not what was
seen last), `LOST`, `GAINED` (the user's bank has another name), `NO_BANK` (all was forgotten).
While one of the kernel's bits is set empty tables are in force, and for a user with any of them.
"""

from __future__ import annotations

from typing import Final

from gossamer.cpu.translation import MSR_DR, MSR_IR, MSR_PR
from gossamer.engine.context import BANKS, NO_BANK, NO_TAG
from gossamer.engine.emit import TB_CPU, TB_TLB
from gossamer.engine.runtime_fields import Text
from gossamer.engine.runtime_tables import bank_tables, each_table, for_lines, for_used_chunks
from gossamer.isa.architecture import SLB_ENTRIES
from gossamer.isa.evaluate import SLB_VALID

#: Bits of `segments_dirty`; those that the supervisor's tables wait for.
CHANGED, LOST, GAINED = 1, 2, 4
KERNELS: Final = CHANGED | NO_BANK
_USERS: Final = LOST | GAINED
#: What has become of the SLB (`slb_difference`): of high addresses a bit further up.
_LOW_LOST, _HIGH_LOST, _LOW_GAINED, _HIGH_GAINED = 1, 2, GAINED, 2 * GAINED
#: Makes a supervisor's name another than a user's.
_KERNEL: Final = 0x5851_F42D_4C95_7F2D
#: Odd multipliers that spread what is hashed.
_SPREAD: Final = (
    0x9E37_79B9_7F4A_7C15 - (1 << 64),
    0xC2B2_AE3D_27D4_EB4F - (1 << 64),
    0xD6E8_FEB8_6659_FD93 - (1 << 64),
    0xA076_1D64_78BD_642F - (1 << 64),
)
_ARRAY: Final = 8 * SLB_ENTRIES


def _entry(n: str, *names: str) -> str:
    """Lines that load element %n of arrays of the SLB: each is %name."""
    return "\n".join(
        f"  %{name}.p = getelementptr i64, ptr %{name}s, i64 %{n}\n"
        f"  %{name} = load i64, ptr %{name}.p{TB_CPU}"
        for name in names
    )


def _arrays(w: Text, **fields: str) -> str:
    return "\n".join(
        f"  %{name}s = getelementptr i8, ptr %cpu, i64 {w.offset_of(field)}"
        for name, field in fields.items()
    )


#: How the SLB differs from what was seen last.
def _difference(w: Text) -> str:
    arrays = _arrays(w, esid="slb_esid", vsid="slb_vsid", old="known_esid", seg="known_vsid")
    return f"""
; Which kinds of entries went and came since the SLB was seen last.
define internal i32 @slb_difference(ptr %cpu) nounwind noinline {{
entry:
{arrays}
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n1, %loop ]
  %all = phi i32 [ 0, %entry ], [ %all3, %loop ]
{_entry("n", "esid", "vsid", "old", "seg")}
  %x = xor i64 %esid, %old
  %y = xor i64 %vsid, %seg
  %xy = or i64 %x, %y
  %same = icmp eq i64 %xy, 0
  %v = and i64 %esid, {SLB_VALID}
  %valid = icmp ne i64 %v, 0
  %ov = and i64 %old, {SLB_VALID}
  %was = icmp ne i64 %ov, 0
  %high = icmp slt i64 %esid, 0
  %was_high = icmp slt i64 %old, 0
  %lost = select i1 %was_high, i32 {_HIGH_LOST}, i32 {_LOW_LOST}
  %gained = select i1 %high, i32 {_HIGH_GAINED}, i32 {_LOW_GAINED}
  %l = select i1 %was, i32 %lost, i32 0
  %g = select i1 %valid, i32 %gained, i32 0
  %lg = or i32 %l, %g
  %news = select i1 %same, i32 0, i32 %lg
  %all3 = or i32 %all, %news
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, {SLB_ENTRIES}
  br i1 %more, label %loop, label %out
out:
  ret i32 %all3
}}
; Takes in what the SLB holds: names of its low and high entries in `name_low`, `name_high`.
; Whether two entries translate one address.
define internal i1 @slb_seen(ptr %cpu) nounwind noinline {{
entry:
  %list = alloca [{SLB_ENTRIES} x i64]
  %shifts = alloca [{SLB_ENTRIES} x i64]
{arrays}
  br label %loop
loop:
  %n = phi i64 [ 0, %entry ], [ %n1, %next ]
  %count = phi i64 [ 0, %entry ], [ %count2, %next ]
  %twice = phi i1 [ false, %entry ], [ %twice2, %next ]
  %la = phi i64 [ 0, %entry ], [ %la2, %next ]
  %lb = phi i64 [ 0, %entry ], [ %lb2, %next ]
  %ha = phi i64 [ 0, %entry ], [ %ha2, %next ]
  %hb = phi i64 [ 0, %entry ], [ %hb2, %next ]
{_entry("n", "esid", "vsid")}
  %oldp = getelementptr i64, ptr %olds, i64 %n
  store i64 %esid, ptr %oldp{TB_CPU}
  %segp = getelementptr i64, ptr %segs, i64 %n
  store i64 %vsid, ptr %segp{TB_CPU}
  %v = and i64 %esid, {SLB_VALID}
  %valid = icmp ne i64 %v, 0
  br i1 %valid, label %take, label %next
take:
  %size = lshr i64 %vsid, 62
  %large = icmp eq i64 %size, 1
  %shift = select i1 %large, i64 40, i64 28
  %any = icmp ne i64 %count, 0
  br i1 %any, label %others, label %sum
others:
  %k = phi i64 [ 0, %take ], [ %k1, %others ]
  %met = phi i1 [ false, %take ], [ %met2, %others ]
  %op = getelementptr i64, ptr %list, i64 %k
  %o = load i64, ptr %op
  %sp = getelementptr i64, ptr %shifts, i64 %k
  %so = load i64, ptr %sp
  %wider = call i64 @llvm.umax.i64(i64 %so, i64 %shift)
  %xo = xor i64 %o, %esid
  %apart = lshr i64 %xo, %wider
  %over = icmp eq i64 %apart, 0
  %met2 = or i1 %met, %over
  %k1 = add i64 %k, 1
  %again = icmp ult i64 %k1, %count
  br i1 %again, label %others, label %sum
sum:
  %overlaps = phi i1 [ false, %take ], [ %met2, %others ]
  %twice1 = or i1 %twice, %overlaps
  %lp = getelementptr i64, ptr %list, i64 %count
  store i64 %esid, ptr %lp
  %hp = getelementptr i64, ptr %shifts, i64 %count
  store i64 %shift, ptr %hp
  %count1 = add i64 %count, 1
  %h0 = mul i64 %esid, {_SPREAD[0]}
  %h1 = lshr i64 %h0, 32
  %h2 = xor i64 %h0, %h1
  %h3 = add i64 %h2, %vsid
  %h4 = mul i64 %h3, {_SPREAD[1]}
  %h5 = lshr i64 %h4, 29
  %h6 = xor i64 %h4, %h5
  %h7 = mul i64 %h6, {_SPREAD[2]}
  %h8 = lshr i64 %h7, 32
  %h = xor i64 %h7, %h8
  %g0 = mul i64 %h6, {_SPREAD[3]}
  %g1 = lshr i64 %g0, 31
  %g = xor i64 %g0, %g1
  %high = icmp slt i64 %esid, 0
  %lh = select i1 %high, i64 0, i64 %h
  %lg = select i1 %high, i64 0, i64 %g
  %hh = select i1 %high, i64 %h, i64 0
  %hg = select i1 %high, i64 %g, i64 0
  %la1 = add i64 %la, %lh
  %lb1 = add i64 %lb, %lg
  %ha1 = add i64 %ha, %hh
  %hb1 = add i64 %hb, %hg
  br label %next
next:
  %count2 = phi i64 [ %count, %loop ], [ %count1, %sum ]
  %twice2 = phi i1 [ %twice, %loop ], [ %twice1, %sum ]
  %la2 = phi i64 [ %la, %loop ], [ %la1, %sum ]
  %lb2 = phi i64 [ %lb, %loop ], [ %lb1, %sum ]
  %ha2 = phi i64 [ %ha, %loop ], [ %ha1, %sum ]
  %hb2 = phi i64 [ %hb, %loop ], [ %hb1, %sum ]
  %n1 = add i64 %n, 1
  %more = icmp ult i64 %n1, {SLB_ENTRIES}
  br i1 %more, label %loop, label %out
out:
  %low = getelementptr i8, ptr %cpu, i64 {w.offset_of("name_low")}
  store i64 %la2, ptr %low{TB_CPU}
  %low8 = getelementptr i8, ptr %low, i64 8
  store i64 %lb2, ptr %low8{TB_CPU}
  %hi = getelementptr i8, ptr %cpu, i64 {w.offset_of("name_high")}
  store i64 %ha2, ptr %hi{TB_CPU}
  %hi8 = getelementptr i8, ptr %hi, i64 8
  store i64 %hb2, ptr %hi8{TB_CPU}
  ret i1 %twice2
}}
"""


#: Banks by their names.
def _banks(w: Text) -> str:
    field = w.field
    names = f"""  %keys = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_segments")}
  %hashes = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_hash")}"""
    return f"""
; The bank of a name; {BANKS}: there is none.
define internal i32 @bank_named(ptr %cpu, i64 %a, i64 %b) nounwind noinline {{
entry:
{names}
  br label %loop
loop:
  %n = phi i32 [ 0, %entry ], [ %n1, %next ]
  %nw = zext i32 %n to i64
  %ko = shl i64 %nw, 6
  %kp = getelementptr i8, ptr %keys, i64 %ko
  %ka = load i64, ptr %kp{TB_CPU}
  %alike = icmp eq i64 %ka, %a
  br i1 %alike, label %compare, label %next
compare:
  %kq = getelementptr i8, ptr %kp, i64 8
  %kb = load i64, ptr %kq{TB_CPU}
  %same = icmp eq i64 %kb, %b
  %hp = getelementptr i32, ptr %hashes, i64 %nw
  %h = load i32, ptr %hp{TB_CPU}
  %holds = icmp ne i32 %h, 0
  %is = and i1 %same, %holds
  br i1 %is, label %out, label %next
next:
  %n1 = add i32 %n, 1
  %more = icmp ult i32 %n1, {BANKS}
  br i1 %more, label %loop, label %out
out:
  %found = phi i32 [ %n, %compare ], [ {BANKS}, %next ]
  ret i32 %found
}}
; Gives a bank a name; it holds something from then on.
define internal void @name_bank(ptr %cpu, i32 %n, i64 %a, i64 %b) nounwind {{
{names}
  %nw = zext i32 %n to i64
  %ko = shl i64 %nw, 6
  %kp = getelementptr i8, ptr %keys, i64 %ko
  store i64 %a, ptr %kp{TB_CPU}
  %kq = getelementptr i8, ptr %kp, i64 8
  store i64 %b, ptr %kq{TB_CPU}
  %hp = getelementptr i32, ptr %hashes, i64 %nw
  store i32 1, ptr %hp{TB_CPU}
  ret void
}}
; The bank of a name: the one that has it, or one that is cleared: neither of those in force.
define internal i32 @take_bank(ptr %cpu, i64 %a, i64 %b) nounwind noinline {{
entry:
  %known = call i32 @bank_named(ptr %cpu, i64 %a, i64 %b)
  %have = icmp ne i32 %known, {BANKS}
  br i1 %have, label %out, label %search
search:
{field("bank", "user", "i32")}
{field("kernel_bank", "kernel", "i32")}
{field("next_bank", "first", "i32")}
  br label %loop
loop:
  %n = phi i32 [ %first, %search ], [ %following, %loop ]
  %up = add i32 %n, 1
  %following = and i32 %up, {BANKS - 1}
  %is_user = icmp eq i32 %n, %user
  %is_kernel = icmp eq i32 %n, %kernel
  %used = or i1 %is_user, %is_kernel
  br i1 %used, label %loop, label %clear
clear:
{w.store("next_bank", "i32", "%following")}
{field("banks", "banks", "ptr")}
  %nw = zext i32 %n to i64
  %bo = mul i64 %nw, {w.addresses.tables.bank}
  %bank = getelementptr i8, ptr %banks, i64 %bo
  %mo = shl i64 %nw, 5
  %m0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_used")}
  %masks = getelementptr i8, ptr %m0, i64 %mo
{each_table(w, "call void @clear_table(ptr %table, ptr %used)")}
  %lo = shl i64 %nw, 4
  %l0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_low")}
  %lows = getelementptr i8, ptr %l0, i64 %lo
  store <2 x i64> zeroinitializer, ptr %lows, align 8{TB_TLB}
  call void @name_bank(ptr %cpu, i32 %n, i64 %a, i64 %b)
  br label %out
out:
  %which = phi i32 [ %known, %entry ], [ %n, %clear ]
  ret i32 %which
}}
"""


#: What the supervisor's tables know of low addresses.
def _lows(w: Text) -> str:
    field, at = w.field, bank_tables(w)
    line = f"""  %wp = getelementptr i8, ptr %line, i64 {w.addresses.line.write}
  %r = load i64, ptr %line{TB_TLB}
  %w = load i64, ptr %wp{TB_TLB}
  %r_high = icmp slt i64 %r, 0
  %w_high = icmp slt i64 %w, 0
  %r1 = select i1 %r_high, i64 %r, i64 {NO_TAG}
  %w1 = select i1 %w_high, i64 %w, i64 {NO_TAG}
  store i64 %r1, ptr %line{TB_TLB}
  store i64 %w1, ptr %wp{TB_TLB}
  br label %on"""
    return (
        for_used_chunks(w, "clear_lows", "", for_lines(w, line))
        + f"""
  store i64 0, ptr %used{TB_TLB}
  ret void
}}
; The supervisor's tables of bank %n forget low addresses.
define internal void @forget_lows(ptr %cpu, i32 %n) nounwind noinline {{
{field("banks", "banks", "ptr")}
  %nw = zext i32 %n to i64
  %bo = mul i64 %nw, {w.addresses.tables.bank}
  %bank = getelementptr i8, ptr %banks, i64 %bo
  %lo = shl i64 %nw, 4
  %l0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_low")}
  %data = getelementptr i8, ptr %l0, i64 %lo
  %fetch = getelementptr i8, ptr %data, i64 8
  %dt = getelementptr i8, ptr %bank, i64 {at[0][0]}
  %ft = getelementptr i8, ptr %bank, i64 {at[2][0]}
  call void @clear_lows(ptr %dt, ptr %data)
  call void @clear_lows(ptr %ft, ptr %fetch)
  ret void
}}
; A line %at bytes into a table of data (%which 0) or fetches (8) gets the page of %ea: where the
; supervisor's has a low address it is noted.  Where a user's has a high one, which none of Linux'
; can, the names of the users' banks have to say what that is, from now on.
define internal void @note_side(ptr %cpu, i64 %ea, i64 %at, i64 %which) nounwind noinline {{
{field("msr", "msr", "i64")}
  %data = icmp eq i64 %which, 0
  %on = select i1 %data, i64 {MSR_DR}, i64 {MSR_IR}
  %t = and i64 %msr, %on
  %real = icmp eq i64 %t, 0
  br i1 %real, label %out, label %translated
translated:
  %pr = and i64 %msr, {MSR_PR}
  %user = icmp ne i64 %pr, 0
  %low = icmp sgt i64 %ea, -1
  br i1 %user, label %users, label %supervisors
supervisors:
  br i1 %low, label %note, label %out
note:
{field("kernel_bank", "kernel", "i32")}
  %nw = zext i32 %kernel to i64
  %lo = shl i64 %nw, 4
  %l0 = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_low")}
  %l1 = getelementptr i8, ptr %l0, i64 %lo
  %mask = getelementptr i8, ptr %l1, i64 %which
  call void @use_line(ptr %mask, i64 %at)
  br label %out
users:
{field("high_in_user", "known", "i32")}
  %fresh = icmp eq i32 %known, 0
  %high = xor i1 %low, true
  %news = and i1 %high, %fresh
  br i1 %news, label %first, label %out
first:
  call void @effect_tlb(ptr %cpu)
{w.store("high_in_user", "i32", "1")}
  br label %out
out:
  ret void
}}
"""
    )


def note_side(w: Text, ea: str, which: int) -> str:
    """A line that notes whose a line %c bytes into a table is; nothing on 32-bit models."""
    if w.ea == "i32":
        return ""
    return f"  call void @note_side(ptr %cpu, i64 %{ea}, i64 %c, i64 {which})\n"


def choosing_64(w: Text) -> str:
    """Putting banks in force."""
    field, store = w.field, w.store
    return (
        _difference(w)
        + _banks(w)
        + _lows(w)
        + f"""
; Chooses the banks that the tables in force need, if that is not done yet; whether it was not: the
; tables have changed then, and what was not found may be there.
define internal i1 @resolve(ptr %cpu) nounwind alwaysinline {{
{field("segments_dirty", "dirty", "i32")}
  %clean = icmp eq i32 %dirty, 0
  br i1 %clean, label %out, label %search
search:
  %chosen = call i1 @choose_bank(ptr %cpu)
  ret i1 %chosen
out:
  ret i1 false
}}
define internal i1 @choose_bank(ptr %cpu) nounwind noinline {{
entry:
{field("segments_dirty", "dirty", "i32")}
{field("msr", "msr", "i64")}
  %pr = and i64 %msr, {MSR_PR}
  %user = icmp ne i64 %pr, 0
  %k = and i32 %dirty, {KERNELS}
  %kernel_news = icmp ne i32 %k, 0
  br i1 %kernel_news, label %slb, label %users
slb:
  %nb = and i32 %dirty, {NO_BANK}
  %nothing = icmp ne i32 %nb, 0
  %difference = call i32 @slb_difference(ptr %cpu)
  %d0 = icmp eq i32 %difference, 0
  %not = xor i1 %nothing, true
  %unchanged = and i1 %d0, %not
  br i1 %unchanged, label %as_before, label %seen
as_before:
  %kept = and i32 %dirty, {_USERS}
  br label %kernel_done
seen:
  %twice = call i1 @slb_seen(ptr %cpu)
{field("slb_twice", "was_twice", "i32")}
  %twice32 = zext i1 %twice to i32
{store("slb_twice", "i32", "%twice32")}
  %wt = icmp ne i32 %was_twice, 0
  %mistake = or i1 %twice, %wt
  %forget = or i1 %mistake, %nothing
  br i1 %forget, label %all, label %some
all:
  %hashes = getelementptr i8, ptr %cpu, i64 {w.offset_of("bank_hash")}
  call void @llvm.memset.p0.i64(ptr %hashes, i8 0, i64 {4 * BANKS}, i1 false)
  br label %some
some:
  %lost_all = select i1 %forget, i32 {_LOW_LOST | _HIGH_LOST}, i32 0
  %d = or i32 %difference, %lost_all
  %low_lost = and i32 %d, {_LOW_LOST}
  %high_lost = and i32 %d, {_HIGH_LOST}
  %gained = and i32 %d, {_HIGH_GAINED}
  %hi = getelementptr i8, ptr %cpu, i64 {w.offset_of("name_high")}
  %a0 = load i64, ptr %hi{TB_CPU}
  %a = xor i64 %a0, {_KERNEL}
  %hi8 = getelementptr i8, ptr %hi, i64 8
  %b = load i64, ptr %hi8{TB_CPU}
{field("kernel_bank", "old", "i32")}
  %another = icmp ne i32 %high_lost, 0
  br i1 %another, label %take, label %keep
take:
  %taken = call i32 @take_bank(ptr %cpu, i64 %a, i64 %b)
{store("kernel_bank", "i32", "%taken")}
  call void @forget_lows(ptr %cpu, i32 %taken)
  br label %kernel
keep:
  %renamed = icmp ne i32 %gained, 0
  br i1 %renamed, label %rename, label %lows
rename:
  call void @name_bank(ptr %cpu, i32 %old, i64 %a, i64 %b)
  br label %lows
lows:
  %went = icmp ne i32 %low_lost, 0
  br i1 %went, label %forget_them, label %kernel
forget_them:
  call void @forget_lows(ptr %cpu, i32 %old)
  br label %kernel
kernel:
  ; What the users' bank is named by.
{field("high_in_user", "both", "i32")}
  %high_too = icmp ne i32 %both, 0
  %high_bits = lshr i32 %d, 1
  %folded = or i32 %d, %high_bits
  %counts = select i1 %high_too, i32 %folded, i32 %d
  %l = and i32 %counts, {_LOW_LOST}
  %g = and i32 %counts, {_LOW_GAINED}
  %lost = shl i32 %l, {LOST // _LOW_LOST - 1}
  %before = and i32 %dirty, {_USERS}
  %u0 = or i32 %before, %lost
  %u1 = or i32 %u0, %g
  %u2 = select i1 %forget, i32 {LOST}, i32 %u1
  br label %kernel_done
kernel_done:
  %left = phi i32 [ %kept, %as_before ], [ %u2, %kernel ]
{store("segments_dirty", "i32", "%left")}
  br label %users
users:
  %now = phi i32 [ %dirty, %entry ], [ %left, %kernel_done ]
  %un = icmp ne i32 %now, 0
  %choose = and i1 %un, %user
  br i1 %choose, label %name, label %done
name:
  %low = getelementptr i8, ptr %cpu, i64 {w.offset_of("name_low")}
  %la = load i64, ptr %low{TB_CPU}
  %low8 = getelementptr i8, ptr %low, i64 8
  %lb = load i64, ptr %low8{TB_CPU}
  %uhi = getelementptr i8, ptr %cpu, i64 {w.offset_of("name_high")}
  %uha = load i64, ptr %uhi{TB_CPU}
{field("high_in_user", "uboth", "i32")}
  %uh = icmp ne i32 %uboth, 0
  %add = select i1 %uh, i64 %uha, i64 0
  %spread = mul i64 %add, {_SPREAD[0]}
  %ua = add i64 %la, %spread
  %ul = and i32 %now, {LOST}
  %must = icmp ne i32 %ul, 0
  br i1 %must, label %user_take, label %user_look
user_look:
  %named = call i32 @bank_named(ptr %cpu, i64 %ua, i64 %lb)
  %none = icmp eq i32 %named, {BANKS}
  br i1 %none, label %user_name, label %user_have
user_name:
{field("bank", "mine", "i32")}
  call void @name_bank(ptr %cpu, i32 %mine, i64 %ua, i64 %lb)
  br label %user_have
user_take:
  %got = call i32 @take_bank(ptr %cpu, i64 %ua, i64 %lb)
  br label %user_have
user_have:
  %chosen = phi i32 [ %named, %user_look ], [ %mine, %user_name ], [ %got, %user_take ]
{store("bank", "i32", "%chosen")}
{store("segments_dirty", "i32", "0")}
  br label %changed
done:
  br i1 %kernel_news, label %changed, label %same
changed:
  call void @set_tables(ptr %cpu)
  ret i1 true
same:
  ret i1 false
}}
; After a change of the SLB nothing is known to be as it was.
define internal ptr @fetch_beside(ptr %cpu, i64 %nia) nounwind alwaysinline {{
  ret ptr null
}}
"""
    )
