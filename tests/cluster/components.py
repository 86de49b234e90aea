"""The programs of a node and of what is around it, and the files that they read."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.cluster import addresses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.spec import Spec

PAUSE: Final = "registry.test/pause:1"
SOCKET: Final = "/run/containerd/containerd.sock"
_BUCKET: Final = "lighterage"
ACCESS_KEY: Final = "cluster-access-key"
SECRET_KEY: Final = "cluster-secret-key"


@dataclass(frozen=True, slots=True)
class Component:
    """A program that runs as long as the cluster does."""

    name: str
    command: tuple[str | Path, ...]
    environment: dict[str, str] = field(default_factory=dict)


def storage(spec: Spec) -> list[Component]:
    """What is there before the API is. Nothing that etcd writes must outlive the machine."""
    # Go names a program after its module, which is `server`.
    data = spec.state / "etcd"
    options = (f"--data-dir={data}", "--unsafe-no-fsync", "--log-level=warn")
    peers = "http://127.0.0.1:2380"
    listen = (
        *(f"--listen-client-urls={addresses.ETCD}", f"--advertise-client-urls={addresses.ETCD}"),
        *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
        f"--initial-cluster=default={peers}",
    )
    return [
        Component("etcd", (spec.etcd / "server", *options, *listen)),
        Component("containerd", (spec.containerd, f"--config={_containerd(spec)}")),
    ]


def api_server(spec: Spec) -> Component:
    """The API."""
    keys = spec.credentials
    return Component(
        "kube-apiserver",
        (
            spec.kubernetes / "kube-apiserver",
            f"--etcd-servers={addresses.ETCD}",
            f"--advertise-address={addresses.NODE}",
            f"--secure-port={addresses.API_PORT}",
            f"--service-cluster-ip-range={addresses.SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--client-ca-file={keys / 'ca.crt'}",
            f"--tls-cert-file={keys / 'server.crt'}",
            f"--tls-private-key-file={keys / 'server.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={keys / 'admin.crt'}",
            f"--kubelet-client-key={keys / 'admin.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys / 'accounts.key'}",
            f"--service-account-signing-key-file={keys / 'accounts.key'}",
        ),
    )


def node(spec: Spec) -> list[Component]:
    """What asks the API: controllers, kubelet, and the cluster's own small programs."""
    keys, programs = spec.credentials, spec.kubernetes
    python = (sys.executable, "-m")
    return [
        Component(
            "kube-controller-manager",
            (
                programs / "kube-controller-manager",
                f"--kubeconfig={keys / 'controller-manager.kubeconfig'}",
                "--leader-elect=false",
                "--use-service-account-credentials",
                f"--root-ca-file={keys / 'ca.crt'}",
                f"--service-account-private-key-file={keys / 'accounts.key'}",
            ),
        ),
        Component(
            "kube-scheduler",
            (
                programs / "kube-scheduler",
                f"--kubeconfig={keys / 'scheduler.kubeconfig'}",
                "--leader-elect=false",
            ),
        ),
        Component(
            "kubelet",
            (
                programs / "kubelet",
                f"--config={_kubelet(spec)}",
                f"--kubeconfig={keys / 'kubelet.kubeconfig'}",
                f"--root-dir={spec.state / 'kubelet'}",
                f"--hostname-override={addresses.NODE_NAME}",
                f"--node-ip={addresses.NODE}",
            ),
        ),
        Component("kube-proxy", (programs / "kube-proxy", f"--config={_kube_proxy(spec)}")),
        Component("dns", (*python, "tests.cluster.dns", keys)),
        Component("volumes", (*python, "tests.cluster.volumes", keys, spec.state / "volumes")),
    ]


def outside(spec: Spec) -> list[Component]:
    """What a cluster finds on the internet: a registry and an S3 API."""
    buckets = spec.state / "buckets"
    (buckets / _BUCKET).mkdir(parents=True)
    directory = spec.state / "registry"
    directory.mkdir(exist_ok=True)
    registry = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": {"addr": addresses.REGISTRY, "secret": "not one"},
    }
    return [
        Component(
            "registry", (spec.registry, "serve", _json(directory / "registry.yaml", registry))
        ),
        Component(
            "buckets",
            (spec.gateway, "--quiet", f"--port={addresses.BUCKETS}", "posix", buckets),
            {"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY},
        ),
    ]


def bucket() -> dict[str, str]:
    """Where blobs may lie, as a proxy's settings have it."""
    return {
        "bucket": _BUCKET,
        "region": "us-east-1",
        "endpoint": f"http://{addresses.BUCKETS}",
    }


def _containerd(spec: Spec) -> Path:
    """Its settings in the form that 1.6 and 1.7 read, and 2.x translates."""
    networks = spec.state / "networks"
    networks.mkdir()
    _json(networks / "pods.conflist", _network(spec))
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    file = spec.state / "containerd.toml"
    file.write_text(f"""\
version = 2
root = "{spec.state / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[{cri}]
  sandbox_image = "{PAUSE}"
  # Where root may not make itself a lesser victim than others, neither may a pod.
  restrict_oom_score_adj = true
[{cri}.containerd]
  snapshotter = "overlayfs"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.cni]
  bin_dir = "{spec.cni}"
  conf_dir = "{networks}"
[{cri}.registry]
  config_path = "{spec.hosts}"
""")
    return file


def _network(spec: Spec) -> dict[str, Any]:
    addressing = {
        "type": "host-local",
        "ranges": [[{"subnet": addresses.PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(spec.state / "pod-addresses"),
    }
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True}
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {**bridge, "ipam": addressing},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(spec: Spec) -> Path:
    resolver = spec.state / "resolv.conf"
    resolver.write_text(f"nameserver {addresses.DNS}\n")
    plugins = spec.state / "volume-plugins"
    plugins.mkdir()
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(spec.credentials / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [addresses.DNS],
        "clusterDomain": addresses.DOMAIN,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "failSwapOn": False,
        "resolvConf": str(resolver),
        "volumePluginDir": str(plugins),
        # The disk is the whole machine's: how full it is says nothing of this cluster.
        "evictionHard": {"memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
    }
    return _json(spec.state / "kubelet.yaml", settings)


def _kube_proxy(spec: Spec) -> Path:
    kubeconfig = str(spec.credentials / "proxy.kubeconfig")
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": addresses.PODS,
        "hostnameOverride": addresses.NODE_NAME,
        "clientConnection": {"kubeconfig": kubeconfig},
        # Those limits are the machine's, and not of a network namespace.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    return _json(spec.state / "kube-proxy.yaml", settings)


def _json(file: Path, document: dict[str, Any]) -> Path:
    file.write_text(json.dumps(document))  # JSON is YAML
    return file
