# codes.pyx: numbers of the engine that the facade needs.
#
# They stand before everything else, as naquid.errors, which the parts below import, takes them from here.
# needs: nothing

# Application error codes on the wire.
CODE_UNKNOWN_PROTOCOL = en.NQ_STREAM_UNKNOWN_PROTOCOL
CODE_FRAME_ERROR = en.NQ_CODE_FRAME_ERROR
CODE_TOO_BIG = en.NQ_CODE_TOO_BIG
CODE_OVERLOAD = en.NQ_CODE_OVERLOAD
CODE_INTERNAL = en.NQ_CODE_INTERNAL
CODE_SHUTDOWN = en.NQ_CODE_SHUTDOWN

# The result of a call whose request or reply is above a limit; the others are in core/errors.
ETOOBIG = en.NQ_RPC_TOOBIG

# Why a connection ended.
WHY_APP = en.NQ_WHY_APP
WHY_TRANSPORT = en.NQ_WHY_TRANSPORT
WHY_TLS = en.NQ_WHY_TLS
WHY_IDLE = en.NQ_WHY_IDLE
WHY_HANDSHAKE_TIMEOUT = en.NQ_WHY_HANDSHAKE_TIMEOUT
WHY_RESET = en.NQ_WHY_RESET
WHY_VERSION = en.NQ_WHY_VERSION
WHY_SYSTEM = en.NQ_WHY_SYSTEM
