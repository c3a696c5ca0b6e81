"""Fixtures: what the integration tests have, and machines with this build installed."""

import fcntl
import importlib.util
import os
import shutil
import sys
import tempfile

import pytest

INTEGRATION = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration")
sys.path.insert(0, INTEGRATION)

from certs import Certs  # noqa: E402
from machine import Machine, obstacle  # noqa: E402
from process import build_dir, run  # noqa: E402

# Two files of the name conftest.py cannot be imported by that name.
_spec = importlib.util.spec_from_file_location("integration_fixtures", os.path.join(INTEGRATION, "conftest.py"))
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

pytest_configure = _fixtures.pytest_configure
time_limit = _fixtures.time_limit
folder = _fixtures.folder


@pytest.fixture
def certs(machine):
    """In a folder that the machine sees too."""
    return Certs(machine.folder)


@pytest.fixture(scope="session")
def installed():
    """A tree with what `cmake --install` puts below /."""
    tree = tempfile.mkdtemp(prefix="imd-installed-")
    os.chmod(tree, 0o755)  # it becomes the machine's root
    with open(os.path.join(build_dir(), "system-install.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the units are written in the build folder before they are installed
        status, out, error = run(["cmake", "--install", build_dir(), "--prefix", "/usr"], env={"DESTDIR": tree},
                                 seconds=60)
    assert status == 0, out + error
    yield tree
    shutil.rmtree(tree, ignore_errors=True)


def pytest_runtest_setup(item):
    """Said here, and not in the fixture, so that it is said once for all tests of a file."""
    if "machine_of" in item.fixturenames:
        why = obstacle()
        if why:
            pytest.skip(why)


@pytest.fixture
def machine_of(folder, installed):
    """machine_of(name) makes a machine, not yet started."""
    made = []

    def make(name):
        place = os.path.join(folder, name)
        os.mkdir(place)
        made.append(Machine(place, installed))
        return made[-1]

    yield make
    _fixtures.stop_all(made)


@pytest.fixture
def machine(machine_of):
    return machine_of("m").start()
