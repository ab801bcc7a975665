"""What the game's server and its clients say to each other. All integers big endian."""

import struct

RATE = 20  # positions per second, in either direction

# RPC stream "game": requests of a client ...
JOIN = 1  # payload: the name; reply: the player's number, NUMBER
FIRE = 2  # payload: nothing; reply: the number of the player that was hit, or nothing
# ... and notifications of the server.
HIT = 3  # payload: the number of who fired

NUMBER = struct.Struct("!H")
MOVE = struct.Struct("!Iff")  # datagram of a client: sequence number, x, y
PLACE = struct.Struct("!Hff")  # datagram of the server: the tick as 4 bytes, then number, x, y of each player
TICK = struct.Struct("!I")
