# address.pyx: numeric IP addresses.
# needs: nothing

cdef int to_addr(en.nq_addr *a, str host, int port) except -1:
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is out of range: use 0 to 65535")
    if "\0" in host:
        raise ValueError(f"{host!r} is no numeric IP address: there is a NUL in it")
    cdef bytes h = host.encode()
    if en.nq_addr_parse(a, h, <uint16_t>port) != 0:
        raise ValueError(f"{host!r} is no numeric IP address")
    return 0


cdef object peer_addr(const en.nq_addr *a):
    """(host, port), or None. An IPv4 address that a socket of both families writes as IPv6 is shown as what it is."""
    cdef char buf[128]
    if a.len == 0:
        return None
    host, _, port = en.nq_addr_format(a, buf, sizeof(buf)).decode().rpartition(":")
    return host.strip("[]"), int(port)


cdef object from_addr(const en.nq_addr *a):
    """As peer_addr, but with the family of the socket: what to_addr makes the same address of."""
    address = peer_addr(a)
    if address is not None and en.nq_addr_is_mapped(a):
        return "::ffff:" + address[0], address[1]
    return address


def parse_address(str host, int port):
    """Whether host is a numeric IP address, as the canonical (host, port); None when it is none."""
    cdef en.nq_addr a
    try:
        to_addr(&a, host, port)
    except ValueError:
        return None
    return from_addr(&a)
