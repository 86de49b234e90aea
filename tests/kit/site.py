"""The site of the pages: staged with the layout of the repository, and built by mkdocs.

Run as a program, this writes the configuration reference, and builds the site into `build/site`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.kit import configuration_page

ROOT: Final = Path(__file__).parents[2]
# The pages, what they show, and what they link to besides.
STAGED: Final = ("*.md", "docs/**/*.md", "docs/**/*.svg", "helm/README.md", "LICENSE")
# These are linked to as files.
FILES: Final = ("config/*.yaml", "helm/values*.yaml")


def stage(target: Path) -> None:
    """Copy the pages, and what they show, to `target`."""
    shutil.rmtree(target, ignore_errors=True)
    for pattern in (*STAGED, *FILES):
        for source in ROOT.glob(pattern):
            copy = target / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of what is staged in `source`; with --strict a warning is a failure."""
    configuration = target.with_suffix(".yml")
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(
        (ROOT / "mkdocs.yml")
        .read_text()
        .replace("docs_dir: build/site-source", f"docs_dir: {source}")
        .replace("site_dir: build/site", f"site_dir: {target}")
    )
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", configuration],
        capture_output=True,
        text=True,
        check=False,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )


def main() -> int:
    """Write the reference and build the site; the exit status."""
    configuration_page.main()
    source, target = ROOT / "build" / "site-source", ROOT / "build" / "site"
    stage(source)
    done = build(source, target)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    else:
        sys.stdout.write(f"{target / 'index.html'}\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
