"""Whether two hosts belong to one party: the owner of the registered domain of both."""

from __future__ import annotations

from functools import cache
from typing import Final

from publicsuffixlist import PublicSuffixList

# Owners of these give each customer, or each address, names below them, and are not on the public
# suffix list, or only parts of them are.
_SHARED: Final = (
    *(".azurecr.io", ".azurecr.cn", ".azurecr.us", ".windows.net", ".azure.com"),
    *(".amazonaws.com", ".amazonaws.com.cn", ".on.aws", ".pkg.dev", ".scw.cloud"),
    *(".aliyuncs.com", ".myqcloud.com", ".tencentcloudcr.com", ".myhuaweicloud.com"),
    *(".volces.com", ".baidubce.com", ".jfrog.io", ".cloudsmith.io", ".digitaloceanspaces.com"),
    *(".ghe.com", ".c8n.io", ".nip.io", ".sslip.io", ".traefik.me"),
    # Services of a Kubernetes cluster, wherever its domain is: names of its namespaces.
    *(".cluster.local", ".svc"),
)


def same_site(host: str, other: str) -> bool:
    """Whether `host` is `other`, below it, or in the same registered domain.

    Both are in lower case, without a dot at the end, and in ASCII. Below a domain whose names
    belong to different parties, only `other` itself and the hosts below it are of its site. That is
    also so where no domain can be registered: addresses, and names of one label.
    """
    if host == other:
        return True
    if not _is_domain(other):
        return False
    if f".{other}".endswith(_SHARED):
        return f".{other}" not in _SHARED and host.endswith(f".{other}")
    registered = _domain_of(other)
    return registered is not None and registered == _domain_of(host)


def _is_domain(host: str) -> bool:
    """Whether it has several labels, and is no address: no top-level domain begins with a digit."""
    _, dot, top = host.rpartition(".")
    return bool(dot) and top[:1].isalpha()


def _domain_of(host: str) -> str | None:
    """The domain that somebody registered; None if `host` is a public suffix, or no domain."""
    try:
        # The list is in Unicode: to encode all of it takes ten times as long as to read it.
        return suffixes().privatesuffix(host.encode().decode("idna"))
    except UnicodeError:
        return None


@cache
def suffixes() -> PublicSuffixList:
    """The list as the library ships it, hosting services included. To read it takes some 10 ms."""
    return PublicSuffixList(accept_encoded_idn=False)
