# loop.pyx
