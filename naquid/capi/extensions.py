"""What naquid.capi has beyond the original: no name of it is in `from naquid.capi import *`, so that a program that
needs nothing else reads as its C twin."""

from __future__ import annotations

from .._naquid import nq_hdmap_rpc_batch_handler, nq_rpc_call_many
from .types import nq_on_rpc_batch_t, nq_on_rpc_replies_t, nq_rpc_batch_handler_t

__all__ = [
    "nq_hdmap_rpc_batch_handler",
    "nq_on_rpc_batch_t",
    "nq_on_rpc_replies_t",
    "nq_rpc_batch_handler_t",
    "nq_rpc_call_many",
]
