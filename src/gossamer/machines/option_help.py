"""The texts of `gossamer run --help` and of docs/options.md, out of the table."""

from __future__ import annotations

import sys
import textwrap
from typing import Final

from gossamer.machines.option_table import GROUPS, Option

_COLUMN: Final = 30
_WIDTH: Final = 79
HEAD: Final = """\
# The options

All of QEMU 7.2's `qemu-system-ppc`, and what each is here. `gossamer run --help` lists those that
do something; [usage.md](usage.md) explains them. What is refused says so in one line with the
reason. An option begins with one or two dashes; a value that QEMU takes as JSON may be JSON here.

This page is written by `python -m gossamer.machines.option_help > docs/options.md`.
"""


def help_text() -> str:
    """One line an option that does something, in QEMU's groups."""
    lines = []
    for group, options in GROUPS.items():
        rows = [o for o in options if not o.refused and not o.without]
        if rows:
            lines += [f"{group}:", *(_row(o) for o in rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(o: Option) -> str:
    head = f"  {o.spelled}"
    gap = "\n" + " " * _COLUMN if len(head) > _COLUMN - 2 else " " * (_COLUMN - len(head))
    text = textwrap.fill(o.text, _WIDTH - _COLUMN, break_on_hyphens=False, break_long_words=False)
    return head + gap + text.replace("\n", "\n" + " " * _COLUMN)


def page() -> str:
    """docs/options.md."""
    lines = [HEAD]
    for group, options in GROUPS.items():
        lines += [f"## {group}", "", "| Option | Here |", "|---|---|"]
        for o in options:
            here = o.text
            if o.without:
                here = f"accepted, without effect: {o.without}"
            elif o.refused:
                here = f"refused: {o.refused}"
            spelled = o.spelled.replace("|", "\\|")
            lines.append(f"| `{spelled}` | {here} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
