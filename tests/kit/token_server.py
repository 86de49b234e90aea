"""A token server for docker-registry's `auth: token`: it signs what the registry then believes.

distribution, docs/spec/auth/token.md and docs/spec/auth/jwt.md.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

USERNAME: Final = "mate"
PASSWORD: Final = "capstan"
_SERVICE: Final = "harbour"
_ISSUER: Final = "harbour master"
_LIFETIME: Final = 60


class TokenServer:
    """On a port of its own, in a thread. `asked` are the scopes that tokens were given for."""

    def __init__(
        self,
        users: Mapping[tuple[str, str], Sequence[str]] = MappingProxyType(
            {(USERNAME, PASSWORD): ("*",)}
        ),
        *,
        public: Sequence[str] | None = None,
    ) -> None:
        """Each login may pull what its patterns say.

        With `public` there are tokens without a login, too, for the repositories of its patterns.
        """
        self.asked: list[str] = []
        self.users = {_basic(*login): tuple(names) for login, names in users.items()}
        if public is not None:
            self.users[""] = tuple(public)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(self._key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def settings(self, directory: Path) -> dict[str, str]:
        """What a registry must be told to believe it; the certificate goes into `directory`."""
        bundle = directory / "issuer.pem"
        bundle.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        return {
            "realm": f"http://127.0.0.1:{self._server.server_address[1]}/token",
            "service": _SERVICE,
            "issuer": _ISSUER,
            "rootcertbundle": str(bundle),
        }

    def _issued(self, scope: str, may: Sequence[str]) -> str:
        """A token for `repository:NAME:ACTIONS`, which is good for nothing unless NAME is there."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        if not any(fnmatchcase(name, pattern) for pattern in may):
            access = []
        now = int(time.time())
        claims = {
            "iss": _ISSUER,
            "sub": USERNAME,
            "aud": _SERVICE,
            "exp": now + _LIFETIME,
            "nbf": now - 1,
            "iat": now,
            "jti": str(len(self.asked)),
            "access": access,
        }
        der = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        header = {"typ": "JWT", "alg": "ES256", "x5c": [der]}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(r.to_bytes(32) + s.to_bytes(32))}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                may = server.users.get(self.headers["Authorization"] or "")
                if may is None:
                    self.send_error(401)
                    return
                (scope,) = query.get("scope", [""])
                server.asked.append(scope)
                body = json.dumps({"token": server._issued(scope, may), "expires_in": _LIFETIME})
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                """Nothing is written among the tests' own output."""

        return Handler


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ISSUER)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
