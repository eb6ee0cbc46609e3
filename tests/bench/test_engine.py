"""The benchmark's programs compute what they say, and its report is what `--json` promises."""

from __future__ import annotations

import argparse
import json
import zlib

import pytest

from gossamer.base.errors import ConfigError
from gossamer.bench.engine import command as bench_engine
from gossamer.bench.engine import programs
from gossamer.bench.engine.peers import GossamerPeer, QemuPeer

NUMBERS = {k.name: n for n, k in enumerate(programs.KERNELS)}


@pytest.fixture(scope="module")
def peer() -> GossamerPeer:
    return GossamerPeer()


def crc_text() -> bytes:
    out, value = bytearray(), 1
    for _ in range(65536):
        value = (value * 16807 + 12345) & 0xFFFF_FFFF
        out.append(value >> 8 & 0xFF)
    return bytes(out)


def test_crc_is_the_crc(peer: GossamerPeer) -> None:
    text = crc_text()
    assert peer.run(NUMBERS["crc"], 1).result == zlib.crc32(text)
    # The register is not set again between the rounds.
    assert peer.run(NUMBERS["crc"], 2).result == zlib.crc32(text * 2)


def test_sieve_counts_the_primes_below_32768(peer: GossamerPeer) -> None:
    assert peer.run(NUMBERS["sieve"], 1).result == 3512
    assert peer.run(NUMBERS["sieve"], 2).result == 2 * 3512


def test_sort_sorts(peer: GossamerPeer) -> None:
    values, x = [], 1
    for _ in range(4096):
        x = (x * 25173 + 13849) & 0xFFFF_FFFF
        values.append((x << 16 | x >> 16) & 0xFFFF_FFFF)
    expected = 0
    for v in sorted(values):
        expected = (expected * 31 + v) & 0xFFFF_FFFF
    assert peer.run(NUMBERS["sort"], 1).result == expected


def test_list_visits_every_node(peer: GossamerPeer) -> None:
    total, at = 0, 0
    order = {n * 4099 & 0x3FFFF: ((n * 4099 + 4099) & 0x3FFFF, n) for n in range(16384)}
    for _ in range(16384):
        at, value = order[at]
        total = (total + value) & 0xFFFF_FFFF
        total = (total << 1 | total >> 31) & 0xFFFF_FFFF
    assert peer.run(NUMBERS["list"], 1).result == total


def test_two_runs_give_one_result_and_count(peer: GossamerPeer) -> None:
    for name in ("state", "matmul", "nbody", "mix", "vsaxpy", "vbytes"):
        a, b = (peer.run(NUMBERS[name], 2) for _ in range(2))
        assert (a.result, a.instructions) == (b.result, b.instructions)


def test_qemu_computes_the_same(peer: GossamerPeer, qemu, tmp_path) -> None:
    other = QemuPeer(str(qemu), tmp_path)
    for name in ("list", "crc", "sort", "state", "matmul", "nbody", "mix", "vsaxpy", "vbytes"):
        assert peer.run(NUMBERS[name], 2).result == other.run(NUMBERS[name], 2).result, name


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench_engine.add_arguments(parser)
    return parser.parse_args(words)


def test_json_has_the_ratios_and_rows(capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments("crc", "mix", "--quick", "--scale", "0.1", "--json", "--no-qemu")
    assert bench_engine.run(args) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in summary["rows"]] == ["crc", "mix"]
    assert (summary["int_ratio"], summary["fp_ratio"]) == (None, None)
    assert all(r["gossamer_mips"] > 0 and r["qemu_seconds"] is None for r in summary["rows"])


def test_ratio_is_the_geometric_mean() -> None:
    rows = [
        bench_engine.Row(n, kind, 1, 1, 1.0, 1.0, ratio, 1.0, ratio)
        for n, kind, ratio in (("a", "int", 0.25), ("b", "int", 1.0), ("c", "fp", 3.0))
    ]
    assert bench_engine.mean_ratio(rows, "int") == pytest.approx(0.5)
    assert bench_engine.mean_ratio(rows, "fp") == pytest.approx(3.0)
    assert bench_engine.mean_ratio(rows, "memory") is None


def test_unknown_program_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown program 'crx'"):
        bench_engine.run(arguments("crx"))


def test_source_is_what_gnu_as_makes_of_it(powerpc_gcc: str, tmp_path) -> None:
    import subprocess

    text = programs.source().replace(".balign 8", ".balign 8,0")  # it would fill with nops
    (tmp_path / "a.s").write_text(text)
    run = [f"{powerpc_gcc}as", "-mregnames", "-mppc", "-maltivec", "-many", "-o", "a.o", "a.s"]
    subprocess.run(run, check=True, cwd=tmp_path)
    link = [f"{powerpc_gcc}ld", "-Ttext", hex(programs.CODE), "-e", "0", "-o", "a.elf", "a.o"]
    subprocess.run(link, check=True, cwd=tmp_path)
    copy = [f"{powerpc_gcc}objcopy", "-O", "binary", "-j", ".text", "a.elf", "a.bin"]
    subprocess.run(copy, check=True, cwd=tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == programs.code()
