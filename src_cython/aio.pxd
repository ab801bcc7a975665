# aio.pxd: what the asyncio facade stands on.
