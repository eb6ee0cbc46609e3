"""What the benches beside QEMU share: finding it, and the mean of ratios to it."""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
from collections.abc import Iterable

from gossamer.base.errors import ConfigError


def find_qemu(args: argparse.Namespace) -> str:
    """The path of QEMU, empty when it is not to be measured; ConfigError when it is missing."""
    if args.no_qemu:
        return ""
    found: str | None = shutil.which(args.qemu)
    if found is None:
        raise ConfigError(f"{args.qemu}: not installed (--no-qemu measures gossamer alone)")
    return found


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Of those that there are; None where there is none."""
    found = [r for r in ratios if r]
    return math.exp(statistics.fmean(map(math.log, found))) if found else None
