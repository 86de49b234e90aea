"""All settings together: the rules between them, and how their sources are merged."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from proxy.config.access import AccessSettings
from proxy.config.blobs import BlobSettings
from proxy.config.mistakes import at, sentence
from proxy.config.origins import Source, merge
from proxy.config.peers import PeerSettings
from proxy.config.section import Section, SettingsError, WrongSetting
from proxy.config.sections import (
    Admin,
    BudgetSettings,
    CatalogSettings,
    ConversionSettings,
    Limits,
    ManifestSettings,
    NegativeCacheSettings,
    RoutingSettings,
    ShutdownSettings,
    TagSettings,
    TlsSettings,
)
from proxy.config.settings_file import read_file
from proxy.config.sources import (
    read_environment,
    read_secrets,
    secrets_directory,
)
from proxy.config.upstream import (
    DOCKER_HUB,
    DOCKER_HUB_NAME,
    UpstreamSettings,
)
from proxy.config.values import Address, Listen
from proxy.errors import NameInvalid
from proxy.oci.platform import Platform
from proxy.oci.reference import parse_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config.origins import Place


class Settings(Section):
    """All settings."""

    listen: Listen = Address("0.0.0.0", 5000)  # noqa: S104 -- a registry serves other machines
    admin: Admin = Admin()
    workers: int = Field(default=1, ge=1, le=256)
    data: Path = Path("data")
    upstreams: dict[str, UpstreamSettings] = Field(
        default_factory=lambda: {DOCKER_HUB_NAME: DOCKER_HUB}, min_length=1
    )
    routing: RoutingSettings = RoutingSettings()
    manifests: ManifestSettings = ManifestSettings()
    blobs: BlobSettings = BlobSettings()
    catalog: CatalogSettings = CatalogSettings()
    tags: TagSettings = TagSettings()
    negative_cache: NegativeCacheSettings = NegativeCacheSettings()
    budget: BudgetSettings = BudgetSettings()
    conversion: ConversionSettings = ConversionSettings()
    access: AccessSettings = AccessSettings()
    peers: PeerSettings = PeerSettings()
    limits: Limits = Limits()
    shutdown: ShutdownSettings = ShutdownSettings()
    tls: TlsSettings = TlsSettings()

    @property
    def default_upstream(self) -> str:
        """The name of the upstream for images that name no registry."""
        return next(name for name, upstream in self.upstreams.items() if upstream.default)

    @model_validator(mode="before")
    @classmethod
    def _one_upstream_is_the_default(cls, values: Any) -> Any:
        upstreams = values.get("upstreams") if isinstance(values, dict) else None
        if not isinstance(upstreams, dict) or len(upstreams) != 1:
            return values
        ((name, upstream),) = upstreams.items()
        if not isinstance(upstream, dict) or "default" in upstream:
            return values
        return {**values, "upstreams": {name: {**upstream, "default": True}}}

    @model_validator(mode="after")
    def _names_are_clear(self) -> Settings:
        defaults = [name for name, upstream in self.upstreams.items() if upstream.default]
        if len(defaults) != 1:
            does = "set default: true in one of them" if not defaults else "remove it from one"
            raise WrongSetting(
                f"exactly one upstream must be the default; {len(defaults)} are: {does}",
                "upstreams",
                *defaults[1:2],
            )
        seen: set[str] = set()
        for name, upstream in self.upstreams.items():
            for alias in (name, *upstream.aliases):
                if alias in seen:
                    raise WrongSetting(f"{alias!r} names two upstreams", "upstreams", name)
                seen.add(alias)
                _check_name(alias, name)
        return self

    @model_validator(mode="after")
    def _credentials_are_guarded(self) -> Settings:
        """Require consent before all clients of a public listener pull with our credentials."""
        allowed = self.listen.is_loopback or self.access.allow_anonymous
        names = [
            name
            for name, upstream in self.upstreams.items()
            if upstream.has_credentials and self.access.is_open_by_default(name)
        ]
        if names and not allowed:
            raise WrongSetting(
                f"every client that can reach {self.listen} would pull with the credentials for "
                f"{', '.join(names)}; say in access.rules who may pull, listen on 127.0.0.1, or "
                "set access.allow_anonymous: true if you want that",
                "listen",
            )
        return self

    @model_validator(mode="after")
    def _rules_fit_the_upstreams(self) -> Settings:
        if (
            "basic" in self.access.modes
            and self.access.htpasswd_file is None
            and not self.access.issuers
            and self.tls.client_ca_file is None
        ):
            raise WrongSetting(
                "mode: basic needs clients that it knows: set access.htpasswd_file, "
                "access.issuers or tls.client_ca_file",
                "access",
            )
        for place, message in self.access.mistakes(self.upstreams):
            raise WrongSetting(message, "access", "rules", *place)
        return self


def _check_name(alias: str, upstream: str) -> None:
    """WrongSetting if `alias` cannot be a name of `upstream`."""
    if "/" in alias:
        raise WrongSetting(
            f"{alias!r} has a slash: an upstream's name is a host, HOST[:PORT]; a path there is "
            "its prefix",
            "upstreams",
            upstream,
        )
    try:
        parse_name(re.sub(r":\d+$", "", alias))
    except NameInvalid:
        message = f"{alias!r} is not a valid name for an upstream; it is a host in lower case"
        raise WrongSetting(message, "upstreams", upstream) from None


class _SchemaAsWritten(GenerateJsonSchema):
    """Writes defaults as a settings file has them."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Address | Platform):
            return str(dft)
        if isinstance(dft, tuple):
            return [self.encode_default(part) for part in dft]
        return super().encode_default(dft)


def schema() -> dict[str, Any]:
    """The JSON schema of a settings file."""
    return Settings.model_json_schema(schema_generator=_SchemaAsWritten)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and where each of them was said."""

    settings: Settings
    source: Source

    def refusal(self, place: Place, message: str) -> str:
        """`message` about the setting at `place`, after its origin and its name."""
        return at(place, message, self.source)


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    upstream: str | None = None,
) -> Settings:
    """The settings of `read`."""
    return read(path, environ=environ, arguments=arguments, upstream=upstream).settings


def read(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    upstream: str | None = None,
) -> Loaded:
    """Read and merge all sources; SettingsError with one line for each mistake.

    `upstream`, a URL, replaces the default upstream and its credentials.
    """
    environ = os.environ if environ is None else environ
    source = Source()
    for stronger in (
        read_file(path),
        read_secrets(secrets_directory(environ)),
        read_environment(environ, Settings.model_fields),
        Source.of_arguments(arguments or {}),
    ):
        source = source.overridden_by(stronger)
    source = Source(_complete_docker_hub(source.values), source.origins)
    if upstream is not None:
        source = _replace_default(upstream, source)
    try:
        return Loaded(Settings.model_validate(source.values), source)
    except ValidationError as error:
        mistakes = error.errors(include_input=False)
        raise SettingsError(
            "\n".join(sentence(mistake, Settings, source) for mistake in mistakes)
        ) from None


def _complete_docker_hub(merged: dict[str, Any]) -> dict[str, Any]:
    """Add the built-in settings of Docker Hub if the sources have some of them, but no url."""
    upstreams = merged.get("upstreams")
    if not isinstance(upstreams, dict):
        return merged
    hub = upstreams.get(DOCKER_HUB_NAME)
    if not isinstance(hub, dict) or "url" in hub:
        return merged
    known = DOCKER_HUB.model_dump(exclude_defaults=True)
    known["default"] = not any(map(_is_default, upstreams.values()))
    return merge(merged, {"upstreams": {DOCKER_HUB_NAME: {**known, **hub}}})


def _replace_default(url: str, source: Source) -> Source:
    name = urlsplit(url).netloc.rpartition("@")[2].lower() or url
    upstreams = source.values.get("upstreams", {})
    others = upstreams if isinstance(upstreams, dict) else {}
    kept = {key: value for key, value in others.items() if not _is_default(value)}
    # One upstream is the default, whether it says so or not.
    if len(kept) == len(others) == 1:
        kept = {}
    chosen = {**kept, name: {"url": url, "default": True}}
    origins: dict[Place, str] = {("upstreams", name): "--upstream"}
    return Source({**source.values, "upstreams": chosen}, {**source.origins, **origins})


def _is_default(upstream: object) -> bool:
    return isinstance(upstream, dict) and str(upstream.get("default")).lower() == "true"
