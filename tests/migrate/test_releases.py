"""One table of releases: names, evidence, users of the table."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest

from gossamer.base.errors import ConfigError
from gossamer.migrate import releases
from gossamer.streams import command as stream_cli


def test_every_column_has_its_evidence() -> None:
    columns = {f.name for f in fields(releases.Release)} - {"name", "title", "ours"}
    assert set(releases.EVIDENCE) == columns
    assert all(len(text) > 30 for text in releases.EVIDENCE.values())


@pytest.mark.parametrize("command", ["convert", "doctor"])
def test_case_8_names_are_the_same_live_and_in_the_tools(command: str) -> None:
    parser = argparse.ArgumentParser()
    stream_cli.add_commands(parser)
    for name in (*releases.QEMU, "qemu-10", "qemu-11"):
        line = {"convert": ["in", "out", "--to", name], "doctor": ["in", "--for", name]}[command]
        parser.parse_args([command, *line])
        assert releases.release(name).name in releases.QEMU


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"'qemu-6' \(there is: gossamer-1, qemu-5.2, qemu-7.2,"):
        releases.release("qemu-6")
