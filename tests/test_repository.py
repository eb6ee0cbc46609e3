"""The checkout itself: what is promised outside the source is there and agrees with it."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import gossamer

CHECKOUT: Final = Path(__file__).resolve().parents[1]
SUFFIXES: Final = {".py", ".md", ".toml", ".sh", ".csv", ".json", ""}
FOLDERS: Final = (".ci", "bench", "docs", "src", "tests")


def project() -> dict[str, Any]:
    """The [project] table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return table


def texts() -> Iterator[tuple[Path, str]]:
    """The text files that we write, wherever they are in the checkout."""
    # In a worktree of git's, .git is a file that says where the repository is.
    found = [path for path in CHECKOUT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in FOLDERS:
        found += [path for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    for path in sorted(found):
        generated = any("egg-info" in part or part == "__pycache__" for part in path.parts)
        if path.suffix in SUFFIXES and not generated:
            yield path.relative_to(CHECKOUT), path.read_text(encoding="utf-8", errors="replace")


def test_version_is_one() -> None:
    assert project()["version"] == gossamer.__version__


def test_changelog_names_this_version_or_unreleased_first() -> None:
    changes = (CHECKOUT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == gossamer.__version__
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize("command", ["run", "test", ".ci/run"])
def test_commands_can_be_started(command: str) -> None:
    path = CHECKOUT / command
    assert os.access(path, os.X_OK), f"{command} is not executable"
    shell = path.read_text().partition("\n")[0].removeprefix("#!").rpartition("/")[2]
    subprocess.run([shell, "-n", path], check=True)


def test_readme_opens_with_the_two_commands() -> None:
    before_prose = (CHECKOUT / "README.md").read_text()[:600]
    assert before_prose.index("./run") < before_prose.index("./test")


@pytest.mark.parametrize("name", sorted(project()["scripts"]))
def test_console_script_has_its_function(name: str) -> None:
    module, _, function = project()["scripts"][name].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_dependency_has_a_range() -> None:
    everything = [*project()["dependencies"], *project()["optional-dependencies"]["test"]]
    loose = [line for line in everything if not re.fullmatch(r"[\w-]+>=[\d.]+,<[\d.]+", line)]
    assert loose == []


def test_everything_imported_is_a_dependency() -> None:
    extras = project()["optional-dependencies"]
    optional = [*extras["verify"], *extras["tls"], *extras["fleet"], *extras["discs"]]
    names = {re.split("[<>=]", line)[0] for line in [*project()["dependencies"], *optional]}
    names = {"elftools" if name == "pyelftools" else name for name in names}
    foreign = set()
    for path in (CHECKOUT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                foreign |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                foreign.add(node.module.partition(".")[0])
    assert foreign - names - set(sys.stdlib_module_names) - {"gossamer"} == set()


def test_no_path_of_one_machine_and_no_registry_host() -> None:
    # The brackets keep this file from holding what it looks for.
    pattern = re.compile(r"(?<![\w.})>])/[w]ork/|py[p]i\.org|python[h]osted|registry\.np[m]js")
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text in texts()
        for match in pattern.finditer(text)
    ]
    assert found == []


VAGUE: Final = re.compile(
    r"(?<![a-z])(?:some|no(?!body cared)|any|every)body(?![a-z])|"  # that one is Linux's message
    r"(?<![a-z])(?:someone|anyone|everyone|whoever|told)(?![a-z])",
    re.IGNORECASE,
)


def vague(text: str) -> list[str]:
    """Words for which the field has a precise one: peer, client, reader, reported."""
    return VAGUE.findall(text)


def test_words_of_source_and_documents_are_the_fields() -> None:
    found = {
        str(path): words
        for path, text in texts()
        if path.parts[0] in ("src", "docs") and (words := vague(text))
    }
    assert found == {}


def test_vague_words_are_found_in_names_too() -> None:
    assert vague("def _told(nobody: int): # Whoever, someone") == [
        "told", "nobody", "Whoever", "someone",
    ]  # fmt: skip
    assert vague('"irq 47: nobody cared", untold, retold') == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path, text in texts():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not (CHECKOUT / path.parent / target).exists():
                broken.append(f"{path}: {target}")
    assert broken == []


def test_decisions_are_numbered_dated_and_have_a_status() -> None:
    pages = sorted((CHECKOUT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(len(pages))), "0000 is the template"
    for page in pages:
        text = page.read_text()
        assert re.search(r"^# \d{4}: .+", text, re.MULTILINE), f"{page.name}: no title"
        for heading in ("Status", "Context", "Decision", "Consequences"):
            assert f"## {heading}" in text, f"{page.name}: no part {heading}"


PROBE: Final = """
import pytest

def test_runs(): pass
def test_skips(): pytest.skip("too dry")
@pytest.mark.interop
def test_interop_skips(): pytest.skip("no peer")
def test_wants_shared(shared): assert shared
@pytest.mark.slow
def test_slow(): pass
"""


def probe(folder: Path, **env: str) -> tuple[int, str]:
    """Run a small suite under our conftest; its exit status and output."""
    tests = folder / "checkout" / "tests"
    tests.mkdir(parents=True)
    (tests / "conftest.py").write_text((CHECKOUT / "tests" / "conftest.py").read_text())
    (tests / "test_probe.py").write_text(PROBE)
    config = "[pytest]\nmarkers =\n    interop\n    slow\n"
    (tests.parent / "pytest.ini").write_text(config)
    ours = {name: value for name, value in os.environ.items() if "GOSSAMER" not in name}
    ours = {name: value for name, value in ours.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"]
    done = subprocess.run(
        command, cwd=tests.parent, env=ours | env, capture_output=True, text=True, timeout=900
    )
    return done.returncode, done.stdout


def test_skips_are_counted_by_reason(tmp_path: Path) -> None:
    status, said = probe(tmp_path)
    assert status == 0, said
    assert "4 skipped, and why" in said
    assert "    1  too dry" in said
    assert "    1  there is no folder shared/ beside the checkout" in said
    assert "    1  slow: runs with ./test --all" in said


def test_skipped_interop_when_required_then_fails(tmp_path: Path) -> None:
    status, said = probe(tmp_path, GOSSAMER_ALL="1", GOSSAMER_REQUIRE_INTEROP="1")
    assert status == 1, said
    assert "2 passed, 1 skipped" in said
    assert "was skipped, but GOSSAMER_REQUIRE_INTEROP is set: no peer" in said
    assert "GOSSAMER_REQUIRE_INTEROP is set, but there is no folder shared/" in said
    assert "    1  too dry" in said
