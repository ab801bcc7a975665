"""Help for testing programs that use naquid: certificates that fit, a network that misbehaves on request, and one in
memory whose clock takes no time.

The pytest plugin beside this (`naquid.testing.plugin`, registered when naquid is installed) has the fixtures
`naquid_ca`, `naquid_server`, `naquid_client`, `naquid_relay` and `naquid_network`. They need no asyncio plugin and work
with any.

    def test_echo(naquid_server, naquid_client, naquid_relay):
        async def main():
            async with naquid_server(app) as server:
                relay = naquid_relay(server, loss=0.05, delay=0.02)
                async with naquid_client(relay) as conn:
                    rpc = await conn.open_rpc("echo")
                    assert await rpc.call(1, b"hi") == b"hi"
        asyncio.run(main())
"""

from __future__ import annotations

from .authority import Authority, Issued
from .relay import Conditions, Counters, Direction, Relay, Target
from .sim import SimConditions, SimCounters, SimDeadlock, SimNetwork

__all__ = [
    "Authority",
    "Conditions",
    "Counters",
    "Direction",
    "Issued",
    "Relay",
    "SimConditions",
    "SimCounters",
    "SimDeadlock",
    "SimNetwork",
    "Target",
]
