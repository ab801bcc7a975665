"""Names to addresses: what comes of a lookup, and in which order its addresses are tried."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from .. import _naquid
from ..errors import ResolveError, unresolved

__all__ = ["Address", "hosts_of", "interleave", "local_address", "reachable_from", "resolve"]

Address = tuple[str, int]
"""A numeric host and a port."""

_A = TypeVar("_A")


def hosts_of(answers: Iterable[Sequence[Any]]) -> list[str]:
    """The numeric hosts in what getaddrinfo said."""
    return [str(answer[4][0]) for answer in answers]


def interleave(addresses: Iterable[_A], host: Callable[[_A], str] = str) -> list[_A]:
    """Addresses of both families by turns, beginning with that of the first, none twice: the second try is of the
    other one (RFC 8305 4). host: the numeric host of an address; by default it is one."""
    unique = list(dict.fromkeys(addresses))
    of_ipv6 = [":" in host(address) for address in unique]
    first = [address for address, ipv6 in zip(unique, of_ipv6, strict=True) if ipv6 == of_ipv6[0]]
    other = [address for address, ipv6 in zip(unique, of_ipv6, strict=True) if ipv6 != of_ipv6[0]]
    mixed: list[_A] = []
    for at in range(max(len(first), len(other))):
        mixed += first[at : at + 1] + other[at : at + 1]
    return mixed


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host in the order in which they are tried, by the system's resolver. Raises ResolveError."""
    if _naquid.parse_address(host, port) is not None:
        return [(host, port)]
    answers = await _lookup(host, port, 0, "check its spelling and the DNS")
    if not answers:
        raise ResolveError(f"the name {host!r} has no address")
    return interleave(((str(answer[4][0]), int(answer[4][1])) for answer in answers), lambda address: address[0])


async def local_address(host: str, port: int) -> str:
    """The numeric address of this machine that host names. Raises ResolveError."""
    if _naquid.parse_address(host, port) is not None:
        return host
    return hosts_of(await _lookup(host, port, socket.AI_PASSIVE, "give a numeric address"))[0]


async def _lookup(host: str, port: int, flags: int, advice: str) -> Sequence[Sequence[Any]]:
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        return await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    except OSError as error:
        raise unresolved(host, error, advice) from error


def reachable_from(bound: str, addresses: list[Address]) -> list[Address]:
    """What can be reached from a socket that is bound to this address; IPv4 from one of IPv6 by its mapped form.
    Raises OSError when nothing can."""
    if ":" in bound:
        return [(host if ":" in host else f"::ffff:{host}", port) for host, port in addresses]
    reached = [address for address in addresses if ":" not in address[0]]
    if not reached:
        host = addresses[0][0]
        raise OSError(errno.EAFNOSUPPORT, f"{host} cannot be reached from {bound}: bind the endpoint to '::'")
    return reached
