"""Names to addresses: what comes of a lookup, and in which order its addresses are tried."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _naquid
from ..errors import ResolveError, unresolved
from .lookup import Lookup, ask

if TYPE_CHECKING:
    import asyncio

__all__ = ["Address", "host_name", "hosts_of", "interleave", "local_addresses", "reachable_from", "resolve"]

Address = tuple[str, int]
"""A numeric host and a port."""

_A = TypeVar("_A")


def host_name(host: str) -> str:
    """A host as it is looked up and verified: ASCII, a name of another script in its encoded form (RFC 3490), an
    address without the brackets of a URL. Raises ResolveError for what is no name: it is refused, never cut."""
    if host[:1] == "[" and host[-1:] == "]" and _naquid.parse_address(host[1:-1], 0) is not None:
        return host[1:-1]
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ResolveError(f"{host!r:.300} is no host name ({error})") from None
    labels = name.removesuffix(".").split(".")
    if "\0" in name:
        wrong = "there is a NUL in it"
    elif "" in labels:
        wrong = "a label between its dots is empty"
    elif any(len(label) > 63 for label in labels):
        wrong = "a label between its dots has more than 63 bytes"
    elif len(name.removesuffix(".")) > 253:
        wrong = f"it has {len(name)} bytes, and 253 are the most"
    else:
        return name
    raise ResolveError(f"{host!r:.300} is no host name: {wrong}")


def hosts_of(answers: Iterable[Sequence[Any]]) -> list[str]:
    """The numeric hosts in what getaddrinfo said, each with its scope when it is link-local (RFC 4007)."""
    return [_host(answer[4]) for answer in answers]


def _host(address: Sequence[Any]) -> str:
    host = str(address[0])
    scope = address[3] if len(address) == 4 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host


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


async def resolve(host: str, port: int, within: float) -> list[Address]:
    """The addresses of a host in the order in which they are tried, by the system's resolver. Waits for at most
    `within` seconds. Raises ResolveError."""
    name = host_name(host)
    if _naquid.parse_address(name, port) is not None:
        return [(name, port)]
    answers = await _lookup(name, port, 0, within, "check its spelling and the DNS")
    if not answers:
        raise ResolveError(f"the name {host!r} has no address")
    return interleave(((_host(answer[4]), int(answer[4][1])) for answer in answers), lambda address: address[0])


async def local_addresses(host: str, port: int, within: float) -> list[str]:
    """The numeric addresses of this machine that host names, at least one. Waits for at most `within` seconds. Raises
    ResolveError."""
    name = host_name(host)
    if _naquid.parse_address(name, port) is not None:
        return [name]
    answers = await _lookup(name, port, socket.AI_PASSIVE, within, "give a numeric address")
    if not answers:
        raise ResolveError(f"the name {host!r} has no address")
    return list(dict.fromkeys(hosts_of(answers)))


async def _lookup(host: str, port: int, flags: int, within: float, advice: str) -> Sequence[Sequence[Any]]:
    import asyncio

    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within or None) as limit:
            if _is_plain(loop):
                return await _in_a_thread(loop, host, port, flags)
            return await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    except TimeoutError as error:
        if not limit.expired():
            raise unresolved(host, error, advice) from error
        raise ResolveError(
            f"the name {host!r} could not be resolved: no DNS server answered in {within:g} seconds "
            "(Limits.handshake_timeout); check the network and the DNS"
        ) from None
    except OSError as error:
        raise unresolved(host, error, advice) from error
    except (ValueError, RuntimeError) as error:  # of a loop whose resolver is another one, or of a codec
        raise ResolveError(f"the name {host!r} could not be resolved ({error}): {advice}") from error


def _is_plain(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop asks the system's resolver as any other does, in threads that it waits for at its end."""
    import asyncio

    if getattr(loop.getaddrinfo, "__func__", None) is asyncio.BaseEventLoop.getaddrinfo:
        return True
    return type(loop).__module__.partition(".")[0] == "uvloop" and "getaddrinfo" not in vars(loop)


async def _in_a_thread(loop: asyncio.AbstractEventLoop, host: str, port: int, flags: int) -> list[Any]:
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def settle(answers: list[Any], failure: BaseException | None) -> None:
        if answer.done():
            return
        if failure is not None:
            answer.set_exception(failure)
        else:
            answer.set_result(answers)

    def done(answers: list[Any], failure: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, answers, failure)

    lookup = Lookup(host, port, flags, done)
    ask(lookup)
    try:
        return await answer
    finally:
        lookup.cancelled = True


def reachable_from(bound: Sequence[str], addresses: list[Address]) -> list[Address]:
    """What can be reached from sockets that are bound to these addresses, one or more; IPv4 from one of IPv6 by its
    mapped form. Raises OSError when nothing can."""
    of_ipv6, of_ipv4 = any(":" in one for one in bound), any(":" not in one for one in bound)
    reached = []
    for host, port in addresses:
        if of_ipv6 if ":" in host else of_ipv4:
            reached.append((host, port))
        elif ":" not in host:
            reached.append((f"::ffff:{host}", port))
    if not reached:
        host = addresses[0][0]
        raise OSError(errno.EAFNOSUPPORT, f"{host} cannot be reached from {bound[0]}: bind the endpoint to '::'")
    return reached
