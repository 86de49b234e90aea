"""Configuration files of clients that pull through this proxy, one module a family of clients."""

from proxy.cli.clients.files import ClientFile, ProxyAddress
from proxy.cli.clients.kinds import CLIENTS

__all__ = ["CLIENTS", "ClientFile", "ProxyAddress"]
