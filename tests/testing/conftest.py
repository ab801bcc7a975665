"""Makes the plugin's fixtures usable where naquid is not installed but used from its tree."""

from __future__ import annotations

from naquid.testing.plugin import (
    _naquid_leaf,
    naquid_ca,
    naquid_client,
    naquid_network,
    naquid_relay,
    naquid_server,
)

__all__ = ["_naquid_leaf", "naquid_ca", "naquid_client", "naquid_network", "naquid_relay", "naquid_server"]
