"""The workloads behind `naquid bench`, `naquid demo` and `bench/compare.py`.

Each starts a server in a process of its own, drives it from this one over real UDP, checks every byte that comes back
and returns a result whose `as_dict()` has the documented JSON keys:

* `rpc.run`: N connections keep W requests outstanding until M of each were answered.
* `bulk.run`: one stream, one direction, for S seconds.
* `handshake.run`: K connections, opened and closed.
* `handshake.run_idle`: server memory per connection that does nothing.
"""
