"""python setup.py build_ext --inplace"""

from Cython.Build import cythonize
from setuptools import Extension, setup

import naquid

setup(
    name="echo-native",
    ext_modules=cythonize(
        [Extension("echo_native", ["echo_native.pyx"], include_dirs=[naquid.get_include()])],
        include_path=[naquid.get_include()],
    ),
)
