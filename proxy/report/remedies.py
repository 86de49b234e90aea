"""What an operator can do about each warning."""

from __future__ import annotations

from typing import Final

# By the subject of the warning, or its part before the first dot.
REMEDIES: Final = {
    "access": "Correct access.rules, or the settings of the upstream that the rule names.",
    "access.plain": "Give this listener a certificate (tls), or put TLS in front of it.",
    "access.token_key": "Set access.token_key_file: one file that all workers and replicas read.",
    "audit": "Make the directory of access.audit.file writable, or free space there.",
    "background_task": "Read the log: it has the error. The task is tried again by itself.",
    "bucket": "Check the bucket's name, its endpoint and the credentials in blobs.",
    "certificate": "Correct the files of tls; the certificate before them is still in use.",
    "data_directory": "Nothing need be done: what is missing is fetched again.",
    "disk": "Check the disk of blobs.path, its free space, and the rights of its files.",
    "file_descriptors": "Raise the limit of open files (ulimit -n, LimitNOFILE), or lower limits.",
    "htpasswd": "Correct access.htpasswd_file; the users before are still in use.",
    "issuer": "Check the issuer's address in access, and whether this machine reaches it.",
    "login": "Correct the credentials of the upstream; lighterage doctor tries them.",
    "peers": "Look at those replicas, and at peers.discover and peers.secret_file of each.",
    "plain_login": "Use an https:// url for the upstream.",
    "redis": "Check the Redis that manifests.redis names; until then the disk answers.",
    "settings": "Correct the settings: lighterage check-config shows where.",
    "token_key": "Correct access.token_key_file; the key before it is still in use.",
}
_ANYTHING_ELSE: Final = "Read the log: it says more."


def remedy_for(subject: str) -> str:
    """What to do about the warning of this subject."""
    return REMEDIES.get(subject) or REMEDIES.get(subject.partition(".")[0]) or _ANYTHING_ELSE
