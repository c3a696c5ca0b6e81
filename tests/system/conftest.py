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
from machine import Machine  # noqa: E402
from process import build_dir, run  # noqa: E402

# Two files of the name conftest.py cannot be imported by that name.
_spec = importlib.util.spec_from_file_location("integration_fixtures", os.path.join(INTEGRATION, "conftest.py"))
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

pytest_configure = _fixtures.pytest_configure
time_limit = _fixtures.time_limit
folder = _fixtures.folder


@pytest.fixture
def certs(folder):
    """In the test's own folder, which its machine sees too."""
    return Certs(folder)


@pytest.fixture(scope="session")
def installed():
    """A tree with what `cmake --install` puts below /."""
    tree = tempfile.mkdtemp(prefix="imd-installed-")
    os.chmod(tree, 0o755)  # it becomes the machine's root
    with open(os.path.join(build_dir(), "system-install.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the units are written in the build folder before they are installed
        status, out, error = run(["cmake", "--install", build_dir(), "--prefix", "/usr"], env={"DESTDIR": tree}, seconds=60)
    assert status == 0, out + error
    yield tree
    shutil.rmtree(tree, ignore_errors=True)


@pytest.fixture
def machine(folder, installed):
    one = Machine(folder, installed)
    try:
        yield one.start()
    finally:
        one.stop()
