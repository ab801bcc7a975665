"""A client's connection and a server's settings, from the options of a command."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    import naquid
    from naquid.client import Connecting


def connecting(options: argparse.Namespace, limits: naquid.Limits | None = None) -> Connecting:
    """`async with connecting(options) as conn`; see `arguments.add_client`."""
    import dataclasses

    import naquid

    if (options.cert is None) != (options.key is None):
        raise UsageError("--cert and --key go together")
    limits = dataclasses.replace(limits or naquid.Limits(), handshake_timeout=options.connect_timeout)
    config = naquid.ClientConfig(
        limits=limits,
        tls=naquid.TlsConfig(cert=options.cert, key=options.key),
        server_name=options.server_name,
    )
    return naquid.connect(options.host, options.port, ca=options.ca, insecure=options.insecure, config=config)


def server_config(options: argparse.Namespace, limits: naquid.Limits | None = None) -> naquid.ServerConfig:
    """See `arguments.add_server`."""
    import naquid

    tls = naquid.TlsConfig(ca=options.client_ca, verify_client=options.client_ca is not None)
    busy_poll = getattr(options, "busy_poll", 0)
    return naquid.ServerConfig(limits=limits or naquid.Limits(), tls=tls, busy_poll=busy_poll)
