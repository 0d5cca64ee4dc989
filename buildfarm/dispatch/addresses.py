"""Tells private addresses from public ones.  It looks nothing up.

distcc's protocol has neither encryption nor proof of who answers, so a source must not leave for the Internet by a
slip in a host list.  Private is what is not globally reachable by the registries of IANA (RFC 6890), as Python's
`ipaddress` knows them: 10/8, 172.16/12, 192.168/16, loopback, link-local, fc00::/7, and 100.64/10, which
carriers and VPNs use.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def is_public(address: str) -> bool:
    """Whether a numeric address, of either family and with or without a scope (`%eth0`), is reachable by the world."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_global or parsed.is_multicast
