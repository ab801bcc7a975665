"""Following the network's changes (track_reachability): on Linux by netlink, elsewhere not supported.

A kernel that tells of changes does not say what they are worth: every one moves the connections that asked for it, as
nq_conn_reachability_change does; changes close together count as one.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable

# linux/netlink.h, linux/rtnetlink.h
_NETLINK_ROUTE = 0
_RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR, _RTMGRP_IPV4_ROUTE, _RTMGRP_IPV6_ROUTE = 0x10, 0x100, 0x40, 0x400
_RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE, _RTM_DELROUTE = 20, 21, 24, 25
_CHANGES = frozenset((_RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE, _RTM_DELROUTE))
_HEADER = struct.Struct("=IHHII")


def supported() -> bool:
    """Whether this system tells of changes."""
    return sys.platform == "linux" and hasattr(socket, "AF_NETLINK")


def changes(data: bytes) -> bool:
    """Whether netlink messages tell of an address or a route that came or went."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return False
        if kind in _CHANGES:
            return True
        at += (length + 3) & ~3
    return False


class Watcher:
    """Calls `changed` (in a thread of its own) when local addresses or routes changed. Raises OSError."""

    def __init__(self, changed: Callable[[], object]) -> None:
        self._changed = changed
        groups = _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_ROUTE
        with contextlib.ExitStack() as made:
            self._sock = made.enter_context(
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
            )
            self._wake, self._woken = map(made.enter_context, socket.socketpair())
            self._sock.bind((0, groups))
            self._thread = threading.Thread(target=self._run, name="naquid-reachability", daemon=True)
            self._thread.start()
            made.pop_all()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(self._woken, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._woken.fileno() in ready:
                return
            try:
                data = self._sock.recv(65536)
            except OSError:  # ENOBUFS: messages were lost, so something changed
                self._changed()
                continue
            if changes(data):
                self._changed()

    def close(self) -> None:
        """Ends the thread."""
        self._wake.send(b"x")
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._close_all()

    def _close_all(self) -> None:
        for sock in (self._sock, self._wake, self._woken):
            sock.close()
