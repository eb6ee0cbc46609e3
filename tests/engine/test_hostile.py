"""Any words at all: the host stays up, time stays bounded, nothing is touched outside guest RAM."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from gossamer.core.htab import HashTable
from gossamer.engine.addresses import addresses
from gossamer.engine.processor import Stop
from gossamer.engine.tier0 import Tier0

from . import programs_64
from .programs import pool, set_up
from .rig import Rig

CANARY = 0x5A
GUARD = 1 << 16
SLICE = 20_000


def guarded(cpu: str = "750") -> Rig:
    """A rig whose arena has a canary block between RAM and the end."""
    rig = Rig(Tier0, cpu=cpu)
    # What lies in the arena and is mapped nowhere: above ROM there is nothing; mark ROM itself too.
    rig.arena.bytes[rig.rom.offset :] = CANARY
    return rig


def fill_with_anything(rig: Rig, seed: int) -> None:
    """Random words (half of them instructions) all over RAM, random registers, random MSR."""
    rng = random.Random(seed)
    cpu = rig.cpu.model.name
    words = pool(1, 2000, cpu)
    fill = programs_64.set_up if cpu == programs_64.CPU else set_up
    fill(rig, seed, translated=bool(seed & 1), words=words)
    data = np.frombuffer(rng.randbytes(0x8000), dtype=np.uint8)
    rig.arena.bytes[0x1_0000:0x1_8000] = data
    known = np.array([rng.choice(words) for _ in range(0x1000)], dtype=">u4")
    mask = np.frombuffer(rng.randbytes(0x1000), dtype=np.uint8) < 150
    view = rig.arena.bytes[0x1_0000:0x1_4000].view(">u4")
    view[mask] = known[mask]
    rig.rom_before = bytes(rig.arena.bytes[rig.rom.offset :])  # type: ignore[attr-defined]
    rig.engine.flush()


def hammer(seeds: range, instructions: int) -> int:
    """Run that many instructions over the seeds; how many were executed."""
    done = 0
    for seed in seeds:
        rig = guarded()
        fill_with_anything(rig, seed)
        rng = random.Random(seed)
        fixed = context_pointers(rig)
        while rig.engine.count < instructions:
            begun = time.process_time()
            count = rig.engine.count
            stop = rig.processor.run(min(instructions, count + SLICE))
            assert time.process_time() - begun < 300, f"seed {seed}"
            assert rig.engine.count <= instructions
            if stop is not Stop.LIMIT:
                break
            # A new start: programs soon end in a loop of interrupts.
            rig.set(nia=0x1_0000 + rng.randrange(0x2000) * 4, msr=rng.getrandbits(32) & 0x5FF76)
        done += rig.engine.count
        assert bytes(rig.arena.bytes[rig.rom.offset :]) == rig.rom_before, f"seed {seed}: ROM"
        assert context_pointers(rig) == fixed, f"seed {seed}: context"
    return done


def context_pointers(rig: Rig) -> list[bytes]:
    """The context's pointers: what no guest may move."""
    names = ("arena", "pages", "dirty", "code", "code_lines", "code_writes", "ready", "entries",
             "entries_end", "scratch", "banks", "d_real", "i_real", "d_null", "i_null",
             "decode_table", "load_callback", "store_callback", "effect_callback")  # fmt: skip
    view, words = memoryview(rig.engine._context), addresses(rig.engine.architecture.word)
    assert len(view) == words.context_size
    names += ("table", "table_mask", "table_dirty", "call_memory") if words.width == 64 else ()
    return [bytes(view[words.fields[n] : words.fields[n] + 8]) for n in names]


@pytest.mark.parametrize("group", range(4))
def test_a_hundred_thousand_random_words_do_no_harm(group: int) -> None:
    assert hammer(range(group * 4, group * 4 + 4), 2 * SLICE) > SLICE


@pytest.mark.once
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", range(10))
def test_ten_million_random_words_do_no_harm(group: int) -> None:
    done, seed = 0, 100_000 + group * 10_000
    while done < 1_000_000:
        done += hammer(range(seed, seed + 1), 2 * SLICE)
        seed += 1


@pytest.mark.parametrize("seed", range(6))
def test_registers_out_of_any_range_do_no_harm(seed: int) -> None:
    """The block itself is random: no register value may reach outside (indices, pointers)."""
    rng = random.Random(seed)
    rig = guarded()
    fill_with_anything(rig, seed)
    for name in ("sdr1", "hid0", "srr0", "srr1", "dabr", "iabr", "ear", "xer", "lr", "ctr"):
        rig.block.set(name, rng.getrandbits(32))
    for n in range(16):
        rig.block.set("sr", rng.getrandbits(32), n)
    for n in range(8):
        rig.block.set("ibat", rng.getrandbits(32), n)
        rig.block.set("dbat", rng.getrandbits(32), n)
    rig.set(msr=rng.getrandbits(32) & 0x1FF76)
    rig.run(SLICE)
    assert bytes(rig.arena.bytes[rig.rom.offset :]) == rig.rom_before


@pytest.mark.parametrize("seed", range(6))
def test_a_64_bit_guest_out_of_any_range_does_no_harm(seed: int) -> None:
    """Random words, a random SLB, a random hash table: real addresses of 60 bits, hypercalls."""
    rng = random.Random(seed)
    rig = guarded(programs_64.CPU)
    rig.engine.answer_calls(1 << 20)
    fill_with_anything(rig, seed)
    table = rig.memory.hash_table
    assert isinstance(table, HashTable)
    table.table.view[:] = rng.randbytes(table.size)
    rig.run(1)
    fixed = context_pointers(rig)
    for n in range(64):
        rig.block.set("slb_esid", rng.getrandbits(64), n)
        rig.block.set("slb_vsid", rng.getrandbits(64), n)
    for _ in range(4):
        for n in range(32):
            rig.block.set("gpr", rng.choice((rng.getrandbits(64), 8, rng.getrandbits(20))), n)
        rig.set(nia=0x1_0000 + rng.randrange(0x2000) * 4, msr=rng.getrandbits(64) & ~0x640)
        rig.run(SLICE // 4)
    assert context_pointers(rig) == fixed
    assert bytes(rig.arena.bytes[rig.rom.offset :]) == rig.rom_before
