"""What pyproject.toml has no words for: one compiled module, without which everything works as well, if slower."""

from glob import glob

from setuptools import Extension, setup

_NATIVE = "src/mincemeat/shuffle/native"

setup(
    ext_modules=[
        Extension(
            "mincemeat.shuffle._texttable",
            [f"{_NATIVE}/texttable.c"],
            depends=sorted(glob(f"{_NATIVE}/*.h")),
            optional=True,
        )
    ]
)
