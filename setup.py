"""What pyproject.toml has no words for: compiled modules, without which everything works as well, if slower, and the
one file, mincemeat.py, which a build leaves in dist/ and takes along, so that a server can offer what was released."""

import os
import runpy
import shutil
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

_NATIVE = "src/mincemeat/shuffle/native"


def _write_one_file():
    return runpy.run_path(os.path.join("tools", "onefile.py"))["main"]()


class BuildWithOneFile(build_py):
    """For a wheel, and not for an editable install, whose sources are still to change."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copyfile(_write_one_file(), os.path.join(self.build_lib, "mincemeat", "onefile", "mincemeat.py.txt"))


class SdistWithOneFile(sdist):
    """``python -m build`` makes the wheel from the unpacked sdist, somewhere else; dist/ is here."""

    def run(self):
        _write_one_file()
        super().run()


setup(
    cmdclass={"build_py": BuildWithOneFile, "sdist": SdistWithOneFile},
    ext_modules=[
        Extension(
            "mincemeat.shuffle._texttable",
            [f"{_NATIVE}/texttable.c"],
            depends=sorted(glob(f"{_NATIVE}/*.h")),
            optional=True,
        ),
        Extension("mincemeat.decoding._mentions", ["src/mincemeat/decoding/native/mentions.c"], optional=True),
    ],
)
