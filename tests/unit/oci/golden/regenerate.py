"""Ask distribution and libtrust for the golden answers again, and write them down.

Run from the project's root: python -m tests.unit.oci.golden.regenerate
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

from proxy.oci.schema1.libtrust import SigningKey
from tests.kit import oracle

GOLDEN: Final = Path(__file__).parent


def main() -> None:
    """Rewrite every answer. The signed body is new each time: libtrust signs with the clock."""
    with tempfile.TemporaryDirectory() as folder:
        program = oracle.build(Path(folder))
        for case in sorted((GOLDEN / "schema1").iterdir()):
            image = json.loads((case / "image.json").read_bytes())
            question = oracle.Conversion(config=(case / "config.json").read_bytes(), **image)
            [answer] = program.convert([question])
            if isinstance(answer, oracle.Rejected):
                raise answer
            (case / "payload.json").write_bytes(answer)

        key = Path(folder, "key.pem")
        key.write_bytes(SigningKey.generate().pem())
        payload = (GOLDEN / "schema1" / "text" / "payload.json").read_bytes()
        (GOLDEN / "signed-text.json").write_bytes(program.sign(payload, key))


if __name__ == "__main__":
    main()
