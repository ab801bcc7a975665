# versions.pyx: what is linked in.
# needs: nothing

def versions():
    """What is linked in and how it was built: the version of each library by its name, "compiler", "flags",
    "variant": str, and "pins": dict."""
    import json
    cdef const char *name
    cdef const char *version
    cdef uint32_t i = 0
    found = {}
    while (version := en.nq_version_library(i, &name)) != NULL:
        found[name.decode()] = version.decode()
        i += 1
    return {**found, **json.loads(en.nq_version_build().decode())}
