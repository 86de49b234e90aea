"""The settings: read once, checked, frozen. `config/lighterage.yaml` documents every one.

A secrets directory overrides the file, the environment overrides both, and arguments override all.
"""

from proxy.config.access import AccessSettings, IssuerSettings
from proxy.config.blobs import BlobSettings
from proxy.config.peers import PeerSettings
from proxy.config.redis import RedisSettings
from proxy.config.section import Section, SettingsError, SettingsUnreadableError
from proxy.config.sections import ConversionSettings, Limits, TagSettings, TlsSettings
from proxy.config.serve_arguments import ServeArguments
from proxy.config.settings import Loaded, Settings, load, read, schema
from proxy.config.upstream import CredentialSettings, EndpointSettings, UpstreamSettings
from proxy.config.values import Address

__all__ = [
    "AccessSettings",
    "Address",
    "BlobSettings",
    "ConversionSettings",
    "CredentialSettings",
    "EndpointSettings",
    "IssuerSettings",
    "Limits",
    "Loaded",
    "PeerSettings",
    "RedisSettings",
    "Section",
    "ServeArguments",
    "Settings",
    "SettingsError",
    "SettingsUnreadableError",
    "TagSettings",
    "TlsSettings",
    "UpstreamSettings",
    "load",
    "read",
    "schema",
]
