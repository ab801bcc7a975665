# limits.pyx: the engine's limits.
# needs: nothing

cdef class EngineLimits:
    """The engine's limits. Fields are given by name, in the engine's units: ns, bytes or counts; see limits_table()."""

    def __init__(self, **fields):
        cdef const en.nq_limit_info *row
        cdef uint64_t *values = <uint64_t *>&self.values
        cdef int i = 0
        cdef dict left = dict(fields)
        en.nq_limits_default(&self.values)
        while True:
            row = en.nq_limits_row(i)
            if row == NULL:
                break
            name = row.name.decode()
            if name in left:
                value = left.pop(name)
                if not isinstance(value, int) or not row.min <= value <= row.max:
                    raise errors.ConfigError(f"{name} is {value} {row.unit.decode()}: it must be an integer from "
                                             f"{row.min} to {row.max}")
                values[i] = value
            i += 1
        if left:
            raise errors.ConfigError(f"unknown limit {', '.join(sorted(left))}")


def limits_table():
    """The engine's limits: a list of (name, default, smallest, largest, unit, text)."""
    cdef const en.nq_limit_info *row
    cdef int i = 0
    rows = []
    while True:
        row = en.nq_limits_row(i)
        if row == NULL:
            return rows
        rows.append((row.name.decode(), row.dflt, row.min, row.max, row.unit.decode(), row.text.decode()))
        i += 1
