"""Sockets that a program has bound itself: is it one that can be served on, and does nobody else of naquid use it?"""

from __future__ import annotations

import os
import socket
from weakref import WeakValueDictionary

from ..errors import ConfigError

__all__ = ["Given"]

# By device and inode: a duplicate of the descriptor is the same socket. What nobody holds any more is not used.
_used: WeakValueDictionary[tuple[int, int], Given] = WeakValueDictionary()


class Given:
    """A bound UDP socket that is to be used, by a descriptor of its own. Raises ConfigError."""

    __slots__ = ("__weakref__", "_key", "fd")

    def __init__(self, sock: socket.socket | int) -> None:
        if isinstance(sock, bool) or not isinstance(sock, (socket.socket, int)):
            raise ConfigError(f"sock is a bound UDP socket or its descriptor, not {type(sock).__name__}")
        number = sock if isinstance(sock, int) else sock.fileno()
        try:
            self.fd = os.dup(number)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"sock: {number} is no open descriptor ({error}); was the socket closed?") from None
        try:
            _check(self.fd)
            status = os.fstat(self.fd)
            self._key = (status.st_dev, status.st_ino)
            if _used.setdefault(self._key, self) is not self:
                raise ConfigError(
                    "sock: a server or endpoint of naquid uses this socket already: bind another one, with "
                    "SO_REUSEPORT where both are to have one port"
                )
        except BaseException:
            os.close(self.fd)
            raise

    def opened(self) -> None:
        """Whoever uses it has a descriptor of its own by now."""
        os.close(self.fd)
        self.fd = -1

    def release(self) -> None:
        """Nobody of naquid uses it any more."""
        if self.fd >= 0:
            self.opened()
        if _used.get(self._key) is self:
            del _used[self._key]


def _check(fd: int) -> None:
    number = os.dup(fd)
    try:
        probe = socket.socket(fileno=number)
    except OSError as error:
        os.close(number)
        raise ConfigError(f"sock: descriptor {fd} is no socket ({error})") from None
    with probe:
        if probe.family not in (socket.AF_INET, socket.AF_INET6) or probe.type != socket.SOCK_DGRAM:
            raise ConfigError(
                f"sock is a socket of {_name(probe.family)} and {_name(probe.type)}: QUIC needs one of UDP, AF_INET or "
                "AF_INET6 and SOCK_DGRAM"
            )
        if probe.getsockname()[1] == 0:
            raise ConfigError("sock is not bound: call its bind() before, with port 0 for one of the system's choice")
        try:
            peer = probe.getpeername()
        except OSError:
            return
        raise ConfigError(f"sock is connected, to {peer[0]} port {peer[1]}: it would take packets of nobody else")


def _name(value: object) -> str:
    return str(getattr(value, "name", value))
