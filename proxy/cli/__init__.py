"""The command line. What is slow to import is imported by the command that needs it."""

from proxy.cli import convert, running, serve, settings, store
from proxy.cli.group import main

__all__ = ["convert", "main", "running", "serve", "settings", "store"]
