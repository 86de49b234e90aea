"""The site is built of the pages, and a link that leads nowhere is a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.kit import site

if TYPE_CHECKING:
    from pathlib import Path


def test_every_page_is_in_the_navigation() -> None:
    navigation = (site.ROOT / "mkdocs.yml").read_text()
    pages = [path.relative_to(site.ROOT) for path in site.ROOT.glob("docs/*.md")]
    assert [str(page) for page in pages if f"- {page}\n" not in navigation] == []


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "site"
    site.stage(source)
    done = site.build(source, target)
    assert done.returncode == 0, done.stdout + done.stderr
    front = (target / "index.html").read_text()
    assert "docs/lighterage.svg" in front
    assert "fonts.googleapis.com" not in front, "nothing from another host"
    (source / "docs" / "faq.md").write_text(
        "# Questions\n[a](none.md) [b](glossary.md#no-heading)\n"
    )
    broken = site.build(source, target)
    assert broken.returncode != 0
    assert "none.md" in broken.stderr
    assert "no-heading" in broken.stderr
