"""The command line. What is slow to import is imported by the command that needs it."""

from proxy.cli import asking, converting, serving, settings, upkeep
from proxy.cli.group import main

__all__ = ["asking", "converting", "main", "serving", "settings", "upkeep"]
