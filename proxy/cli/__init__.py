"""The command line. Modules that are slow to import are imported by the commands that need them."""

from proxy.cli import convert, running, serve, settings, store
from proxy.cli.group import main

__all__ = ["convert", "main", "running", "serve", "settings", "store"]
