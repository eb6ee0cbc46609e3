"""The reference of the Python interface is made from its docstrings."""

from __future__ import annotations

from pathlib import Path

import pytest

import gossamer.api

MODULES = ("gossamer.api", "gossamer.api.past", "gossamer.control.timeline.timeline")


def test_reference_names_what_programs_use(tmp_path: Path) -> None:
    pdoc = pytest.importorskip("pdoc")
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*MODULES, output_directory=tmp_path)
    front = (tmp_path / "gossamer" / "api.html").read_text()
    assert all(f">{name}<" in front for name in gossamer.api.__all__)
    text = "".join(page.read_text() for page in tmp_path.rglob("*.html"))
    for word in ("last_write", "run_until", "reset_to", "on_block", "fork", "speculate"):
        assert f">{word}<" in text
    bare = [
        f"{kind.qualname}.{one.name}"
        for kind in pdoc.doc.Module(gossamer.api).classes
        for one in kind.own_members
        if one.kind == "function" and not one.docstring and not one.name.startswith("_")
    ]
    assert bare == []
