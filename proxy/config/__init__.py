"""The settings: read once, checked, frozen. `config/lighterage.yaml` documents every one.

Files are weakest, then a secrets directory, then the environment, then the command line.
"""

from proxy.config.blobs import BlobSettings
from proxy.config.given import Given
from proxy.config.redis import RedisSettings
from proxy.config.sections import Limits, TagSettings, TlsSettings
from proxy.config.settings import Settings, load, schema
from proxy.config.sources import SettingsError, SettingsUnreadableError
from proxy.config.upstream import CredentialSettings, EndpointSettings, UpstreamSettings
from proxy.config.values import Address

__all__ = [
    "Address",
    "BlobSettings",
    "CredentialSettings",
    "EndpointSettings",
    "Given",
    "Limits",
    "RedisSettings",
    "Settings",
    "SettingsError",
    "SettingsUnreadableError",
    "TagSettings",
    "TlsSettings",
    "UpstreamSettings",
    "load",
    "schema",
]
