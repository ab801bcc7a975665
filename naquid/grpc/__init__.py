"""naquid.grpc: what protoc has generated for gRPC, over naquid (`pip install "naquid[grpc]"`).

    add_StoreServicer_to_server(Store(), naquid.grpc.Services(app))     # a server's
    stub = StoreStub(naquid.grpc.Channel(conn))                         # a client's

The stubs, servicers, messages and status codes are gRPC's, with `grpc.aio`'s manners; the bytes on the wire are
naquid's, so both ends must be naquid. What of gRPC is not carried: a call's deadline (it ends the call at the client's
side only), credentials of calls, compression; the last two are refused by name.
"""

try:
    import grpc  # noqa: F401  the package of that name, not this one
except ImportError as error:
    raise ImportError('naquid.grpc needs grpcio: pip install "naquid[grpc]"') from error

from .call import Call
from .channel import Channel
from .context import Context
from .server import Services

__all__ = ["Call", "Channel", "Context", "Services"]
