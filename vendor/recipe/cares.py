"""Builds c-ares straight from its C files, with a configuration that every system here shares."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import ngtcp2, tools
from .fetch import Archive, unpack
from .report import say
from .tools import Compiler

# Raised when the recipe itself changes in a way its flags and ares_config.h do not show.
RECIPE = 1

# What POSIX promises, and what the headers themselves can tell: a newer system's functions are never assumed.
_HAVE = """
    ARPA_INET_H ASSERT_H ERRNO_H FCNTL_H IFADDRS_H LIMITS_H NETDB_H NETINET_IN_H NETINET_TCP_H NET_IF_H STDINT_H
    STRINGS_H SYS_IOCTL_H SYS_PARAM_H SYS_SELECT_H SYS_SOCKET_H SYS_STAT_H SYS_TIME_H SYS_TYPES_H SYS_UIO_H TIME_H
    UNISTD_H
    AF_INET6 PF_INET6 STRUCT_ADDRINFO STRUCT_IN6_ADDR STRUCT_SOCKADDR_IN6 STRUCT_SOCKADDR_IN6_SIN6_SCOPE_ID
    STRUCT_SOCKADDR_STORAGE STRUCT_TIMEVAL
    CLOCK_GETTIME_MONOTONIC FCNTL_O_NONBLOCK GETENV GETHOSTNAME GETIFADDRS GETNAMEINFO GETTIMEOFDAY IF_INDEXTONAME
    IF_NAMETOINDEX RECV RECVFROM SEND SENDTO STAT STRCASECMP STRDUP STRNCASECMP STRNLEN WRITEV
"""
_CONFIG = """\
#define GETHOSTNAME_TYPE_ARG2 size_t
#define RECV_TYPE_ARG1 int
#define RECV_TYPE_ARG2 void *
#define RECV_TYPE_ARG3 size_t
#define RECV_TYPE_ARG4 int
#define RECV_TYPE_RETV ssize_t
#define RECVFROM_TYPE_ARG1 int
#define RECVFROM_TYPE_ARG2 void *
#define RECVFROM_TYPE_ARG3 size_t
#define RECVFROM_TYPE_ARG4 int
#define RECVFROM_TYPE_ARG5 struct sockaddr *
#define RECVFROM_TYPE_ARG6 socklen_t *
#define RECVFROM_TYPE_RETV ssize_t
#define SEND_TYPE_ARG1 int
#define SEND_TYPE_ARG2 const void *
#define SEND_TYPE_ARG3 size_t
#define SEND_TYPE_ARG4 int
#define SEND_TYPE_RETV ssize_t
#define CARES_RANDOM_FILE "/dev/urandom"
#if defined(__APPLE__)
#define HAVE_ARC4RANDOM_BUF 1
#define HAVE_AVAILABILITYMACROS_H 1
#elif defined(__linux__)
#define HAVE_MSG_NOSIGNAL 1
#if __has_include(<sys/random.h>)
#define HAVE_SYS_RANDOM_H 1
#define HAVE_GETRANDOM 1
#endif
#endif
"""


def config_h() -> str:
    return "".join(f"#define HAVE_{name} 1\n" for name in _HAVE.split()) + _CONFIG


def flags(variant: str, compiler: Compiler) -> tuple[str, ...]:
    """No CARES_THREADS: every channel is one thread's."""
    return (*ngtcp2.flags(variant, compiler), "-DCARES_STATICLIB", "-DCARES_BUILDING_LIBRARY")


def build(source: Archive, variant: str, compiler: Compiler, output: Path, work: Path) -> None:
    """Puts include/cares and lib/libcares.a into output."""
    root = unpack(source, work / "cares-src")
    generated = work / "cares-config"
    generated.mkdir()
    (generated / "ares_config.h").write_text(config_h())
    lib = root / "src" / "lib"
    sources = sorted(lib.rglob("*.c"))
    folders = [generated, root / "include", lib, lib / "include"]
    say(f"compiling c-ares {source.version} ({variant}, {len(sources)} files)")
    arguments = [*flags(variant, compiler), f"-ffile-prefix-map={root}=c-ares", *(f"-I{path}" for path in folders)]
    objects = tools.compile_all(compiler, arguments, sources, work / "cares-objects", "c-ares")
    (output / "lib").mkdir(parents=True, exist_ok=True)
    tools.archive(compiler, objects, output / "lib" / "libcares.a")
    headers = output / "include" / "cares"
    headers.mkdir(parents=True)
    for header in (root / "include").glob("*.h"):
        shutil.copy2(header, headers / header.name)
