"""Every line of docs/quirks.md, met by two generations of clients, cold and cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.quirks import dockers, failures, heads, images, listings, storage
from tests.integration.quirks.quirk import CLIENTS, Quirk, attempt

if TYPE_CHECKING:
    from pathlib import Path

# In the order of the page.
SECTIONS: Final = (failures, heads, listings, images, dockers, storage)
QUIRKS: Final[dict[str, Quirk]] = {
    name: quirk for section in SECTIONS for name, quirk in section.QUIRKS.items()
}


@pytest.mark.parametrize("state", ["cold", "cached"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", QUIRKS)
async def test_a_quirk(data_dir: Path, name: str, client: str, state: str) -> None:
    await attempt(QUIRKS[name], client, data_dir, cached=state == "cached")
