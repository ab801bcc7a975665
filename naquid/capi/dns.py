"""A stub resolver for chosen servers: A and AAAA queries over UDP (RFC 1035, RFC 3596), each server in turn."""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time

NO_DATA, FORMAT, SERVER_FAILURE, NOT_FOUND, REFUSED, TIMEOUT, BAD_NAME = 1, 2, 3, 4, 6, 12, 8
_A, _AAAA, _IN = 1, 28, 1


class BadReply(ValueError):
    """A packet that is no answer to the query."""


def resolve(host: str, servers: list[tuple[str, int]], timeout: float) -> tuple[int, list[str]]:
    """(0, addresses) or (c-ares status, []). Asks each server for `timeout` seconds; IPv6 and IPv4 at once."""
    try:
        name = encode_name(host)
    except ValueError:
        return BAD_NAME, []
    code = TIMEOUT
    for server in servers:
        code, found = _ask(name, server, timeout)
        if code in (0, NO_DATA, NOT_FOUND):
            return code, found
    return code, []


def encode_name(host: str) -> bytes:
    """A name as labels. Raises ValueError."""
    text = host if host.isascii() else host.encode("idna").decode("ascii")
    out = b""
    for label in text.rstrip(".").split("."):
        raw = label.encode("ascii")
        if not 1 <= len(raw) <= 63:
            raise ValueError(f"{host!r} is no host name")
        out += bytes([len(raw)]) + raw
    if len(out) > 254:
        raise ValueError(f"{host!r} is too long for a host name")
    return out + b"\0"


def _ask(name: bytes, server: tuple[str, int], timeout: float) -> tuple[int, list[str]]:
    queries = {secrets.randbelow(65536): _A}
    while len(queries) < 2:
        queries[secrets.randbelow(65536)] = _AAAA
    found: dict[int, list[str]] = {}
    code = TIMEOUT
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    until = time.monotonic() + timeout
    again = time.monotonic()
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(server)
            while queries:
                now = time.monotonic()
                if now >= until:
                    break
                if now >= again:  # lost queries are asked again once a second
                    for ident, kind in queries.items():
                        header = struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0)
                        sock.send(header + name + struct.pack("!HH", kind, _IN))
                    again = now + 1.0
                if not select.select([sock], [], [], min(until, again) - now)[0]:
                    continue
                try:
                    ident, status, addresses = parse(sock.recv(65535), queries, name)
                except BadReply:
                    continue
                kind = queries.pop(ident)
                code = status
                if status == 0:
                    found[kind] = addresses
        except OSError:
            return 11, []
    hosts = found.get(_AAAA, []) + found.get(_A, [])
    if hosts:
        return 0, hosts
    return (code or NO_DATA), []


def parse(packet: bytes, queries: dict[int, int], name: bytes) -> tuple[int, int, list[str]]:
    """(query, c-ares status, addresses) of an answer to one of the queries. Raises BadReply."""
    try:
        ident, flags, questions, answers = struct.unpack_from("!HHHH", packet)
        if ident not in queries or not flags & 0x8000 or questions != 1:
            raise BadReply("not asked for")
        at = 12 + len(name)
        if packet[12:at].lower() != name.lower() or struct.unpack_from("!HH", packet, at) != (queries[ident], _IN):
            raise BadReply("another question")
        at += 4
        status = flags & 15
        if status:
            return ident, {1: FORMAT, 2: SERVER_FAILURE, 3: NOT_FOUND, 5: REFUSED}.get(status, SERVER_FAILURE), []
        found: list[str] = []
        for _ in range(answers):
            at = _skip_name(packet, at)
            kind, klass, _ttl, size = struct.unpack_from("!HHIH", packet, at)
            at += 10
            data = packet[at : at + size]
            if len(data) != size:
                raise BadReply("cut off")
            at += size
            if klass == _IN and kind == queries[ident]:
                if size == 4 and kind == _A:
                    found.append(socket.inet_ntop(socket.AF_INET, data))
                elif size == 16 and kind == _AAAA:
                    found.append(socket.inet_ntop(socket.AF_INET6, data))
        return ident, 0, found
    except (struct.error, IndexError) as error:
        raise BadReply("cut off") from error


def _skip_name(packet: bytes, at: int) -> int:
    while True:
        n = packet[at]
        if n >= 0xC0:
            return at + 2
        if n == 0:
            return at + 1
        at += 1 + n
