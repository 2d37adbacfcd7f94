"""The ports of examples/ports compute the suite, and a mistake planted in one of them is named as the pages say."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import slow_but

from minroberta.cli.app import main
from minroberta.testing import golden
from minroberta.testing.cases import CASES, SIZES, Case

ROOT = Path(__file__).parents[1]
PORTS = ROOT / "examples" / "ports"
PAGES = {"roberta.mjs": ROOT / "docs" / "golden.md", "roberta.c": PORTS / "README.md"}
"""The page that plants a mistake in a port."""

PLANTED = {
    "roberta.mjs": ["encoder", "masked-lm", "twelve-layers", "gelu-new"],
    "roberta.c": ["encoder", "masked-lm", "positions-given", "pad-0"],
}
NAMES = sorted(PORTS.glob("roberta.*"))
PROGRAMS = {".c": "cc", ".mjs": "node"}


def supported(case: Case) -> bool:
    """True for the cases that README.md says the ports compute."""
    config = {"model_type": "roberta", "position_embedding_type": "absolute", **SIZES, **case.config}
    absolute, first = config["position_embedding_type"] == "absolute", ("roberta-prelayernorm", "xlm-roberta-xl")
    return case.head in ("encoder", "masked_lm") and absolute and config["model_type"] not in first


SUPPORTED = [case.name for case in CASES if supported(case)]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("suite")
    golden.suite(directory, raw=True)
    return directory


def run(source: Path, suite: Path, folder: Path, names: list[str]) -> Path:
    """The directory to which a port wrote the values of these cases, or of all that it supports."""
    if shutil.which(PROGRAMS[source.suffix]) is None:
        pytest.skip(f"there is no {PROGRAMS[source.suffix]}")
    if source.suffix == ".mjs":
        subprocess.run(["node", source, suite, folder / "port", *names], check=True, capture_output=True)
        return folder / "port"
    options = ["-std=c99", "-pedantic-errors", "-O2"]
    subprocess.run(["cc", *options, "-o", folder / "roberta", source, "-lm"], check=True)
    (folder / "port").mkdir()
    for name in names or [case.name for case in CASES]:
        command = [folder / "roberta", suite / name, folder / "port" / f"{name}.safetensors"]
        assert subprocess.run(command, capture_output=True).returncode == (0 if name in SUPPORTED else 3)
    return folder / "port"


def check(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["golden", "check", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.mark.parametrize("source", NAMES, ids=lambda path: path.name)
def test_a_port_is_right(source: Path, suite: Path, tmp_path: Path) -> None:
    status, said = check(suite, run(source, suite, tmp_path, []), "--json", "--precision", "float32")
    result = json.loads(said)
    assert (status, result["ok"]) == (0, True)
    assert [case["name"] for case in result["cases"]] == SUPPORTED
    assert result["missing"] == [case.name for case in CASES if case.name not in SUPPORTED]
    for case in result["cases"]:
        assert case["unknown"] == []
        stored = golden.load(suite / f"{case['name']}.safetensors")
        assert case["values"] == case["right"] >= len(stored.keys() - {"loss"})


def blocks(page: Path, language: str) -> Iterator[str]:
    return (text for text in re.findall(rf"```{language}\n(.+?)```", page.read_text(encoding="utf-8"), re.DOTALL))


def planted(source: Path, folder: Path) -> Path:
    """A copy of the port with the change of the page's diff."""
    before, after = (line[1:] for line in next(blocks(PAGES[source.name], "diff")).splitlines())
    text = source.read_text(encoding="utf-8")
    assert text.count(before) == 1
    (folder / source.name).write_text(text.replace(before, after), encoding="utf-8")
    return folder / source.name


@pytest.mark.parametrize("source", slow_but(NAMES, PORTS / "roberta.mjs"), ids=lambda path: path.name)
def test_a_planted_mistake_is_named_as_the_page_says(source: Path, suite: Path, tmp_path: Path) -> None:
    port = run(planted(source, tmp_path), suite, tmp_path, PLANTED[source.name])
    status, said = check(suite, port)
    assert status == 1
    expected = next(blocks(PAGES[source.name], "text"))
    assert [line.rstrip() for line in said.splitlines()] == expected.splitlines()


def test_the_lines_of_the_ports() -> None:
    page = (PORTS / "README.md").read_text(encoding="utf-8")
    for source in NAMES:
        text = source.read_text(encoding="utf-8").splitlines()
        assert len(text) < 400
        assert max(map(len, text)) <= 120
        row = re.search(rf"^\| \[{re.escape(source.name)}\].*\| (\d+) \| (\d+) \|$", page, re.MULTILINE)
        assert row and (int(row[1]), int(row[2])) == (len(text), len(SUPPORTED))


@pytest.mark.skipif(
    shutil.which("zip") is None or sys.platform != "linux", reason="the release is packed by Linux's zip"
)
def test_the_archive_of_a_release_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Neither the files' dates, nor the order in which they were written, nor the time zone shows in it."""
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    commands = re.search(r"^ +find minroberta-suite.*\n.*zip -\w+ minroberta-suite\.zip.*$", workflow, re.MULTILINE)
    assert commands
    packed = []
    for zone, date, names in (
        ("UTC", 10**9, ["b.bin", "a.bin", "C.bin"]),
        ("Asia/Tokyo", 0, ["C.bin", "a.bin", "b.bin"]),
    ):
        folder = tmp_path / str(date)
        (folder / "minroberta-suite").mkdir(parents=True)
        for name in names:
            (folder / "minroberta-suite" / name).write_bytes(name.encode() * 100)
            os.utime(folder / "minroberta-suite" / name, (date, date))
        subprocess.run(["bash", "-ec", commands[0]], check=True, cwd=folder, env={**os.environ, "TZ": zone})
        packed.append((folder / "minroberta-suite.zip").read_bytes())
    assert packed[0] == packed[1]
    assert len(zipfile.ZipFile(tmp_path / "0" / "minroberta-suite.zip").namelist()) == 3
