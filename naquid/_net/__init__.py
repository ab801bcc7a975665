"""What the asyncio interface and the C API both need of the network. Nothing in here is public, and none of it imports
asyncio: a program of naquid.capi does not wait for that."""
