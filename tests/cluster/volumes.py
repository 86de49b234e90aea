"""The cluster's volumes: a directory of the node for each claim, made and removed with it.

python -m tests.cluster.volumes CREDENTIALS DIRECTORY
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

from tests.cluster.addresses import NODE_NAME
from tests.cluster.api import Api, ApiError

CLASS: Final = "local"
_PROVISIONER: Final = "lighterage.test/directory"
_VOLUMES: Final = "/api/v1/persistentvolumes"
# Seconds between two looks.
_PERIOD: Final = 0.5
STORAGE_CLASS: Final = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": CLASS,
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": _PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
}


def volume(claim: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The volume that a claim gets: what it asked for, in a directory of its own."""
    metadata, spec = claim["metadata"], claim["spec"]
    reference = {"kind": "PersistentVolumeClaim", "apiVersion": "v1"}
    reference |= {key: metadata[key] for key in ("name", "namespace", "uid")}
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"claim-{metadata['uid']}",
            # The controller then knows that deleting is not its own business.
            "annotations": {"pv.kubernetes.io/provisioned-by": _PROVISIONER},
        },
        "spec": {
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "claimRef": reference,
            # Unlike `hostPath`, `local` heeds the pod's fsGroup.
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
        },
    }


def step(api: Api, root: Path) -> None:
    """Give each waiting claim its volume, and remove the volumes whose claims have gone."""
    for claim in api.list("/api/v1/persistentvolumeclaims"):
        spec = claim["spec"]
        if claim["status"]["phase"] == "Pending" and spec.get("storageClassName") == CLASS:
            directory = root / claim["metadata"]["uid"]
            directory.mkdir(parents=True, exist_ok=True)
            api.create(_VOLUMES, volume(claim, directory))
    for each in api.list(_VOLUMES):
        if each["status"].get("phase") == "Released":
            shutil.rmtree(each["spec"]["local"]["path"], ignore_errors=True)
            api.delete(f"{_VOLUMES}/{each['metadata']['name']}")


def main(credentials: Path, root: Path) -> None:
    """Look twice a second until it is killed."""
    api = Api(credentials)
    while True:
        try:
            step(api, root)
        except ApiError as error:
            sys.stderr.write(f"{error}\n")
        time.sleep(_PERIOD)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
