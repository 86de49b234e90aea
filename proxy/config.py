"""The settings: read once, checked, frozen. `config/lighterage.yaml` documents every one.

Files are weakest, then a secrets directory, then the environment, then the command line.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, Union, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from proxy.errors import NameInvalid
from proxy.oci.negotiation import AcceptMissing, Mixed
from proxy.oci.platform import Platform
from proxy.oci.reference import parse_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

ENVIRONMENT_PREFIX: Final = "LIGHTERAGE_"
SECRETS_DIRECTORY: Final = Path("/run/secrets/lighterage")

_DURATIONS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES: Final = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class SettingsError(Exception):
    """The settings cannot be used; the message says which one, and what to do."""


def _duration(value: object) -> object:
    if isinstance(value, str) and (
        found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|ms|s|m|h|d)", value.strip())
    ):
        return float(found[1]) * _DURATIONS[found[2]]
    if not _is_number(value):
        raise ValueError("a duration is a number with ms, s, m, h or d behind it, such as 90s")
    return value


def _size(value: object) -> object:
    if isinstance(value, str) and (
        found := re.fullmatch(r"(\d+|\d+\.\d+(?=\s*\w))\s*(|KiB|MiB|GiB|TiB)", value.strip())
    ):
        return int(float(found[1]) * _SIZES[found[2]])
    if not _is_number(value):
        raise ValueError("a size is a number of bytes, or one with KiB, MiB, GiB or TiB behind it")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _share(value: object) -> object:
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())):
        return float(found[1]) / 100
    return value


def _urls(value: object) -> object:
    """One URL is a list of one; in the environment and on the command line, commas part them."""
    if isinstance(value, str):
        return tuple(re.split(r"\s*,\s*(?=\w+://)", value.strip()))
    return () if value is None else value


def _address(value: object) -> object:
    if isinstance(value, Address):
        return value
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 -- TCP's
        raise ValueError("an address is HOST:PORT, such as 0.0.0.0:5000 or [::]:5000")
    return Address(host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port))  # noqa: S104 -- what an empty host means


class Address(tuple[str, int]):
    """Where to listen."""

    __slots__ = ()

    def __new__(cls, host: str, port: int) -> Self:
        """A host and a TCP port."""
        return super().__new__(cls, (host, port))

    @property
    def host(self) -> str:
        """A name or an IP address, without brackets."""
        return self[0]

    @property
    def port(self) -> int:
        """0 lets the system choose."""
        return self[1]

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __getnewargs__(self) -> tuple[str, int]:
        """For pickle, with which a supervisor hands the settings to its workers."""
        return self.host, self.port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


Seconds = Annotated[
    float,
    BeforeValidator(_duration),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"},
            ]
        }
    ),
]
Bytes = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(KiB|MiB|GiB|TiB)?$"},
            ]
        }
    ),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    Field(ge=0, le=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"},
            ]
        }
    ),
]
Listen = Annotated[
    Address,
    BeforeValidator(_address),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^.*:\d{1,5}$"}),
]

Urls = Annotated[
    tuple[str, ...],
    BeforeValidator(_urls),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
Patience = Annotated[Seconds, Field(gt=0)]


def _platform(value: object) -> object:
    return Platform.parse(value) if isinstance(value, str) else value


PlatformName = Annotated[
    Platform,
    BeforeValidator(_platform),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": "^[^/]+/[^/]+(/[^/]+)?$"}),
]


class _Section(BaseModel):
    """A group of settings: closed, so that a typing error is found, and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Admin(_Section):
    """The listener for operators."""

    listen: Listen = Address("127.0.0.1", 5080)


class CredentialSettings(_Section):
    """How to log in to an upstream: one of the four secrets. Files are read again when needed."""

    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    token_file: Path | None = None
    docker_config_file: Path | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> CredentialSettings:
        places = (self.password, self.password_file, self.token_file, self.docker_config_file)
        if sum(place is not None for place in places) != 1:
            raise ValueError(
                "give either password_file or password, or token_file, or docker_config_file"
            )
        if self.username is None and self.token_file is None and self.docker_config_file is None:
            raise ValueError("a password needs a username")
        if self.username is not None and self.docker_config_file is not None:
            raise ValueError("docker_config_file has the username in it")
        return self


class PlaceSettings(_Section):
    """Where a registry or a mirror of it is, and how it is reached."""

    url: str
    prefix: str = ""
    credentials: CredentialSettings | None = None
    realms: tuple[str, ...] = ()
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    proxy: str | None = Field(default=None, repr=False)  # may hold a password
    no_proxy: tuple[str, ...] = ()
    address_family: Literal["any", "ipv4", "ipv6"] = "any"
    connections: int = Field(default=512, ge=1)
    connect_timeout: Patience = 5.0
    idle_timeout: Patience = 60.0
    answer_timeout: Patience = 30.0

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/?#@\s]+/?", value):
            raise ValueError(
                "an upstream's url is http(s)://HOST[:PORT], with nothing behind it; what goes "
                "before a repository's name there is the prefix"
            )
        return value.rstrip("/")

    @field_validator("prefix")
    @classmethod
    def _is_path(cls, value: str) -> str:
        prefix = value.strip("/")
        try:
            return parse_name(prefix) if prefix else ""
        except NameInvalid:
            raise ValueError("a prefix is like a repository's name: project/hub") from None

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"http://([^/?#@\s]+@)?[^/?#@\s]+/?", value):
            raise ValueError("a proxy is http://[USERNAME:PASSWORD@]HOST[:PORT]")
        return value

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        if self.certificate_file is not None and self.url.startswith("http:"):
            raise ValueError("a certificate_file needs a url that begins with https://")
        return self


class UpstreamSettings(PlaceSettings):
    """A registry that this proxy stands in front of."""

    default: bool = False
    aliases: tuple[str, ...] = ()
    mirrors: tuple[PlaceSettings, ...] = ()
    offline: bool = False

    @property
    def lends_credentials(self) -> bool:
        """Whether anybody who pulls through it does so with a login of ours."""
        return any(place.credentials is not None for place in (self, *self.mirrors))


_REDIS_URL: Final = re.compile(
    r"rediss?://[^/?#\s]+(/\d*)?|unix://([^/?#@\s]*@)?/[^?#\s]+(\?db=\d+)?"
)


class RedisSettings(_Section):
    """Where Redis is, and how to log in: one of `url` and `sentinels`."""

    url: Urls = Field(default=(), repr=False)  # may hold a password
    cluster: bool = False
    sentinels: tuple[Listen, ...] = ()
    service: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    sentinel_password: str | None = Field(default=None, repr=False)
    sentinel_password_file: Path | None = None
    connect_timeout: Patience = 0.5
    timeout: Patience = 0.25

    @field_validator("url")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            try:
                valid = _REDIS_URL.fullmatch(url) and urlsplit(url).port != 0
            except ValueError:
                valid = False
            if not valid:
                raise ValueError(
                    "a Redis url is redis://HOST[:PORT][/DATABASE], rediss:// for TLS, or "
                    "unix:///PATH[?db=DATABASE]; write a / in a password as %2F"
                )
        return urls

    @model_validator(mode="after")
    def _one_place(self) -> RedisSettings:
        if self.url and self.sentinels:
            raise ValueError("give either url or sentinels")
        if bool(self.sentinels) != bool(self.service):
            raise ValueError("sentinels and service, the name that they know Redis by, go together")
        if self.cluster and not self.url:
            raise ValueError("cluster is true, but there is no url of one of its nodes")
        if len(self.url) > 1 and not self.cluster:
            raise ValueError("several urls are the nodes of a cluster; say cluster: true")
        schemes = {urlsplit(url).scheme for url in self.url}
        if self.cluster and (schemes == {"unix"} or len(schemes) > 1):
            raise ValueError("the urls of a cluster all begin with redis://, or all with rediss://")
        if self.cluster and any(urlsplit(url).path not in {"", "/", "/0"} for url in self.url):
            raise ValueError("a cluster has no database but 0")
        return self

    @model_validator(mode="after")
    def _tls_is_spoken(self) -> RedisSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        wanted = self.tls or self.ca_file or self.certificate_file
        if self.url and wanted and not all(url.startswith("rediss:") for url in self.url):
            raise ValueError("TLS needs a url that begins with rediss://")
        if self.sentinels and wanted and not self.tls:
            raise ValueError("ca_file and certificate_file with sentinels need tls: true")
        return self

    @model_validator(mode="after")
    def _one_login(self) -> RedisSettings:
        if self.password is not None and self.password_file is not None:
            raise ValueError("give either password_file or password")
        if self.sentinel_password is not None and self.sentinel_password_file is not None:
            raise ValueError("give either sentinel_password_file or sentinel_password")
        secret = self.password is not None or self.password_file is not None
        if self.username is not None and not secret:
            raise ValueError("username needs a password_file")
        if secret and any(urlsplit(url).password is not None for url in self.url):
            raise ValueError("the url has a password in it, and there is another one beside it")
        return self


class ManifestSettings(_Section):
    """The cache of manifests, representations and tags."""

    store: Literal["sqlite", "redis"] = "sqlite"
    memory: Bytes = 64 * 2**20
    redis: RedisSettings = RedisSettings()

    @model_validator(mode="after")
    def _redis_is_somewhere(self) -> ManifestSettings:
        somewhere = bool(self.redis.url or self.redis.sentinels)
        if self.store == "redis" and not somewhere:
            raise ValueError(
                "store is redis, but redis does not say where: give redis.url, or redis.sentinels "
                "and redis.service"
            )
        if self.store == "sqlite" and somewhere:
            raise ValueError("redis says where Redis is, but store is sqlite; say store: redis")
        return self


class BlobSettings(_Section):
    """Where blobs and the durable records are kept."""

    store: Literal["disk"] = "disk"
    path: Path | None = None
    max_size: Bytes = 50 * 2**30
    range_on_miss: bool = True
    finish_abandoned: bool = True


class TagRule(_Section):
    """Another lifetime for the tags that a pattern fits."""

    match: str = Field(min_length=1)
    ttl: Seconds
    stale_if_error: Seconds | None = None


class TagSettings(_Section):
    """How long a tag is believed."""

    ttl: Seconds = 60.0
    stale_while_revalidate: Seconds = 30.0
    stale_if_error: Seconds = 30 * 86400.0
    patience: Seconds = 0.75
    rules: tuple[TagRule, ...] = ()


class RefusalSettings(_Section):
    """For how long an upstream's no is taken for an answer."""

    not_found: Seconds = 5.0
    denied: Seconds = 10.0


class BudgetSettings(_Section):
    """What of an upstream's rate limit is kept for images that are not here."""

    reserve: Share = 0.1


class ConversionSettings(_Section):
    """What is made for clients that cannot read what is stored."""

    accept_missing: AcceptMissing = AcceptMissing.SCHEMA1
    mixed: Mixed = Mixed.STORED
    platform: PlatformName = Platform("linux", "amd64")
    platforms: tuple[PlatformName, ...] = (Platform("linux", "amd64"), Platform("linux", "arm64"))
    max_children: int = Field(default=64, ge=1, le=1000)
    signing_key_file: Path | None = None


class AccessSettings(_Section):
    """Who may read."""

    mode: Literal["open"] = "open"
    allow_anonymous: bool = False


class Limits(_Section):
    """How much may go on at once, in all workers together."""

    connections: int = Field(default=4096, ge=1)
    downloads: int = Field(default=256, ge=1)
    spool: Bytes = 20 * 2**30
    passed_through: int = Field(default=64, ge=0)

    def share(self, workers: int) -> Limits:
        """Each worker's part."""
        return Limits(
            connections=-(-self.connections // workers),
            downloads=-(-self.downloads // workers),
            spool=self.spool // workers,
            passed_through=-(-self.passed_through // workers),
        )


class Shutdown(_Section):
    """How the end is waited for."""

    delay: Seconds = 0.0
    grace: Seconds = 300.0


class TlsSettings(_Section):
    """The registry listener's certificate."""

    certificate_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _both(self) -> TlsSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self


_DOCKER_HUB_NAME: Final = "docker.io"
_DOCKER_HUB: Final = UpstreamSettings(
    url="https://registry-1.docker.io", default=True, aliases=("index.docker.io",)
)


class Settings(_Section):
    """Everything that can be set."""

    listen: Listen = Address("0.0.0.0", 5000)  # noqa: S104 -- a registry is there to be reached
    admin: Admin = Admin()
    workers: int = Field(default=1, ge=1, le=256)
    data: Path = Path("data")
    upstreams: dict[str, UpstreamSettings] = Field(
        default_factory=lambda: {_DOCKER_HUB_NAME: _DOCKER_HUB}, min_length=1
    )
    manifests: ManifestSettings = ManifestSettings()
    blobs: BlobSettings = BlobSettings()
    tags: TagSettings = TagSettings()
    refusals: RefusalSettings = RefusalSettings()
    budget: BudgetSettings = BudgetSettings()
    conversion: ConversionSettings = ConversionSettings()
    access: AccessSettings = AccessSettings()
    limits: Limits = Limits()
    shutdown: Shutdown = Shutdown()
    tls: TlsSettings = TlsSettings()

    @property
    def default_upstream(self) -> str:
        """The name of the upstream of names that name none."""
        return next(name for name, upstream in self.upstreams.items() if upstream.default)

    @model_validator(mode="after")
    def _names_are_clear(self) -> Settings:
        defaults = [name for name, upstream in self.upstreams.items() if upstream.default]
        if len(defaults) != 1:
            raise ValueError(f"one upstream must be the default one; {len(defaults)} are")
        seen: set[str] = set()
        for name, upstream in self.upstreams.items():
            for alias in (name, *upstream.aliases):
                if alias in seen:
                    raise ValueError(f"{alias!r} names two upstreams")
                seen.add(alias)
                try:
                    parse_name(re.sub(r":\d+$", "", alias))
                except NameInvalid:
                    raise ValueError(f"{alias!r} is not a valid name for an upstream") from None
        return self

    @model_validator(mode="after")
    def _credentials_are_guarded(self) -> Settings:
        """Whoever reaches the listener reads what the credentials can read: not by accident."""
        guarded = self.listen.is_loopback or self.access.allow_anonymous
        lent = [name for name, upstream in self.upstreams.items() if upstream.lends_credentials]
        if lent and not guarded:
            raise ValueError(
                f"the credentials for {', '.join(lent)} would be lent to everybody who reaches "
                f"{self.listen}; listen on 127.0.0.1, or say access.allow_anonymous: true if that "
                "is what you want"
            )
        return self


class _SchemaAsWritten(GenerateJsonSchema):
    """Defaults as they stand in a file, and not as they are in memory."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, Address | Platform):
            return str(dft)
        if isinstance(dft, tuple):
            return [self.encode_default(part) for part in dft]
        return super().encode_default(dft)


def schema() -> dict[str, Any]:
    """The JSON schema of a settings file."""
    return Settings.model_json_schema(schema_generator=_SchemaAsWritten)


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
    upstream: str | None = None,
) -> Settings:
    """The settings of all sources; SettingsError with one line for each thing that is wrong.

    `upstream`, a URL, takes the place of the default upstream, its credentials included.
    """
    environ = os.environ if environ is None else environ
    secrets = Path(environ.get(f"{ENVIRONMENT_PREFIX}SECRETS_DIR", str(SECRETS_DIRECTORY)))
    merged: dict[str, Any] = {}
    for source in (_file(path), _secrets(secrets), _environment(environ), arguments or {}):
        merged = _merged(merged, source)
    merged = _completed(merged)
    if upstream is not None:
        merged["upstreams"] = _in_front_of(upstream, merged.get("upstreams", {}))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors(include_input=False)))) from None


def _completed(merged: dict[str, Any]) -> dict[str, Any]:
    """Whoever says no more of Docker Hub than its login means the one that is built in."""
    upstreams = merged.get("upstreams")
    if not isinstance(upstreams, dict):
        return merged
    hub = upstreams.get(_DOCKER_HUB_NAME)
    if not isinstance(hub, dict) or "url" in hub:
        return merged
    known = _DOCKER_HUB.model_dump(exclude_defaults=True)
    known["default"] = not any(map(_is_default, upstreams.values()))
    return _merged(merged, {"upstreams": {_DOCKER_HUB_NAME: {**known, **hub}}})


def _in_front_of(url: str, others: Mapping[str, Any]) -> dict[str, Any]:
    name = urlsplit(url).netloc.rpartition("@")[2].lower() or url
    kept = {key: value for key, value in others.items() if not _is_default(value)}
    return {**kept, name: {"url": url, "default": True}}


def _is_default(upstream: object) -> bool:
    return isinstance(upstream, dict) and str(upstream.get("default")).lower() == "true"


def _file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if content is not None and not isinstance(content, dict):
        raise SettingsError(f"{path} does not hold a mapping of settings")
    return content or {}


def _secrets(directory: Path) -> dict[str, Any]:
    """Files such as `upstreams__docker.io__credentials__password`; dot files are Kubernetes'."""
    merged: dict[str, Any] = {}
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    for file in files:
        if not file.name.startswith(".") and file.is_file():
            try:
                secret = file.read_text().strip()
            except (OSError, UnicodeDecodeError):
                raise SettingsError(f"the secret {file} cannot be read") from None
            merged = _merged(merged, _nested(file.name.split("__"), secret))
    return merged


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`LIGHTERAGE_BLOBS__MAX_SIZE`; a JSON value where it starts like an array or an object.

    A name without `__` that is no setting is left alone: Kubernetes sets LIGHTERAGE_PORT and the
    like for a Service of that name. One with `__` is meant for us, and is checked.
    """
    merged: dict[str, Any] = {}
    for name, value in environ.items():
        keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if len(keys) > 1 or keys[0] in Settings.model_fields:
            merged = _merged(merged, _nested(keys, _value(name, value)))
    return merged


def _value(name: str, text: str) -> object:
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise SettingsError(f"{name} starts like JSON, but is none") from None


def _nested(keys: list[str], value: object) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)  # noqa: S101 -- there is at least one key
    return value


def _merged(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(weak[key], strong[key])
        for key in weak.keys() & strong.keys()
        if isinstance(weak[key], dict) and isinstance(strong[key], dict)
    }
    return {**weak, **strong, **both}


def _sentence(error: ErrorDetails) -> str:
    """One mistake for a person; an unknown key comes with the nearest known one."""
    place = ".".join(map(str, error["loc"]))
    if error["type"] != "extra_forbidden":
        message = error["msg"].removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    known = _known_keys(error["loc"][:-1])
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(sorted(known))}"
    return f"{place}: there is no such setting{hint}"


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    section: type[BaseModel] = Settings
    for key in place:
        field = section.model_fields.get(str(key))
        # Below `upstreams` stands a name, which is no field, and then the fields again.
        for part in (field.annotation, *_parts(field.annotation)) if field else ():
            if isinstance(part, type) and issubclass(part, BaseModel):
                section = part
    return list(section.model_fields)


def _parts(annotation: object) -> tuple[object, ...]:
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType, dict, tuple} else ()
