"""Networks of the tests' own, of network namespaces: addresses that go away, cables that carry less than before."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TypeVar

import pytest

CLONE_NEWNET = 0x40000000


class Namespaces:
    """Network namespaces by short names, which a subclass creates and joins."""

    names: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)

    def full(self, name: str) -> str:
        return f"naquid-{os.getpid()}-{name}"

    def make(self) -> None:
        for name in self.names:
            self.ip("netns", "add", self.full(name))

    def remove(self) -> None:
        for name in self.names:
            with contextlib.suppress(OSError):
                self.ip("netns", "delete", self.full(name))

    def ip(self, *args: str) -> None:
        done = subprocess.run(["ip", *args], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise OSError(f"ip {' '.join(args)}: {done.stderr.strip()}")

    def ip_in(self, name: str, *args: str) -> None:
        self.ip("-n", self.full(name), *args)

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """The calling thread, and threads it starts, open their sockets there."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{self.full(name)}", "rb") as there:
            self.enter(there.fileno())
            try:
                yield
            finally:
                self.enter(home.fileno())

    def enter(self, fd: int) -> None:
        if self.libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


N = TypeVar("N", bound=Namespaces)


@contextlib.contextmanager
def made(kind: type[N]) -> Iterator[N]:
    """Namespaces for a test, which is skipped where they cannot be made."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces: not run, they need Linux, root and `ip` (Debian: apt install iproute2)")
    namespaces = kind()
    try:
        try:
            namespaces.make()
            with namespaces.inside(namespaces.names[0]):
                pass
        except OSError as error:
            pytest.skip(f"network namespaces: not run, this system does not make them: {error}")
        yield namespaces
    finally:
        namespaces.remove()
