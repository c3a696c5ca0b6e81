"""Fixtures: the packages, built once, and a copy of this machine's file system in which they are installed."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from private_root import PrivateRoot, Unavailable

SOURCE = pathlib.Path(__file__).parents[2]
TOOLS = ["dpkg-buildpackage", "dh", "lintian"]
PACKAGES = ["imd", "imctl", "libimctl0", "libimctl-dev"]
OF_THIS_BUILD = ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "DESTDIR", "CFLAGS", "LDFLAGS", "DEB_BUILD_PROFILES"]


class Packages:
    def __init__(self, folder):
        self.folder = folder
        self.source = folder / "source"
        self.changes, = folder.glob("*.changes")
        self.files = {name: next(folder.glob(f"{name}_*.deb")) for name in PACKAGES}

    def contents(self, name):
        """The files of a package; no folders."""
        paths = subprocess.check_output(f"dpkg-deb --fsys-tarfile {self.files[name]} | tar -t", shell=True, text=True)
        return [path.removeprefix(".") for path in paths.splitlines() if not path.endswith("/")]


def source_copy(target):
    """The tree as somebody would get it, with or without git: nothing that is built."""
    built = {SOURCE / "build", pathlib.Path(os.environ["IMD_BUILD_DIR"])}

    def ignored(folder, names):
        return [name for name in names
                if name in (".git", ".cache", "node_modules", "__pycache__", ".pytest_cache")
                or pathlib.Path(folder) / name in built]

    shutil.copytree(SOURCE, target, symlinks=True, ignore=ignored)


@pytest.fixture(scope="session")
def packages():
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="imd-packages-"))
    try:
        source_copy(folder / "source")
        environment = {name: value for name, value in os.environ.items() if name not in OF_THIS_BUILD}
        environment |= {"DEB_BUILD_OPTIONS": "nocheck noautodbgsym parallel=2", "LC_ALL": "C.UTF-8"}
        build = subprocess.run(["dpkg-buildpackage", "-us", "-uc", "-Pnocheck"], cwd=folder / "source", env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert build.returncode == 0, build.stdout[-8000:]
        yield Packages(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def root(packages):
    """A machine with what the packages need, and none of them: they lie in /tmp/packages, the source in /tmp/source."""
    place = tempfile.mkdtemp(prefix="imd-root-")
    try:
        root = PrivateRoot(place)
    except Unavailable as reason:
        os.rmdir(place)
        pytest.skip(str(reason))
    try:
        root.path("/tmp/packages").mkdir()
        for file in packages.files.values():
            shutil.copy(file, root.path("/tmp/packages"))
        source_copy(root.path("/tmp/source"))
        root.run("dpkg", "--purge", *PACKAGES)
        yield root
    finally:
        root.close()
        os.rmdir(place)
