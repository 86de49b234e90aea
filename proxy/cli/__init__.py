"""The command line. Modules that are slow to import are imported by the commands that need them."""

from proxy.cli import (
    about,
    access,
    client_config,
    convert,
    doctor,
    effective,
    images,
    kept,
    questions,
    running,
    serve,
    settings,
    store,
    warm,
)
from proxy.cli.group import main

__all__ = [
    "about",
    "access",
    "client_config",
    "convert",
    "doctor",
    "effective",
    "images",
    "kept",
    "main",
    "questions",
    "running",
    "serve",
    "settings",
    "store",
    "warm",
]
