"""Every place that says a version says the same one; none names what nobody has published."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Final

import yaml

from proxy import __version__

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("helm/*.md"),
    ROOT / "helm/templates/NOTES.txt",
    ROOT / "Dockerfile",
)
# Where somebody would look for what is not there.
PUBLISHED: Final = re.compile(
    r"pip install (--\S+ )*lighterage|helm repo add|pipx? install lighterage"
    r"|(docker\.io|ghcr\.io|quay\.io)/\S*lighterage[:@]"
)


def test_the_program_says_its_version() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lighterage"), "--version"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == f"lighterage {__version__}\n"


def test_chart_and_image_have_the_version() -> None:
    chart = yaml.safe_load((ROOT / "helm/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    images = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
    assert images[0]["image"] == f"lighterage:{__version__}"
    (argument,) = re.findall(r"^ARG VERSION=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert argument == __version__


def test_the_changelog_s_newest_entry_is_the_version_with_its_day() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, _, day = next(each for each in headings if each != "Unreleased").partition(" - ")
    assert version == __version__
    assert date.fromisoformat(day) <= date.today()  # noqa: DTZ011 -- of the machine that releases


def test_the_pages_name_this_version_and_nothing_that_is_not_published() -> None:
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"lighterage:(\d+\.\d+\.\d+)", text)) <= {__version__}, page
        assert PUBLISHED.search(text) is None, page
