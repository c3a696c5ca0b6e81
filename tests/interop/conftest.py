"""The integration tests' fixtures, with server.mjs in the place of the loopback IM server."""

import filecmp
import importlib.util
import os
import shutil
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
INTEGRATION = os.path.join(os.path.dirname(HERE), "integration")
sys.path.insert(0, INTEGRATION)

from node_server import NodeServer, modules_dir  # noqa: E402 (needs that path)


def _integration_fixtures():
    """By its path: its name is this file's too."""
    path = os.path.join(INTEGRATION, "conftest.py")
    spec = importlib.util.spec_from_file_location("integration_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_fixtures = _integration_fixtures()
time_limit, folder, server = _fixtures.time_limit, _fixtures.folder, _fixtures.server
imd_of, imd, bridge = _fixtures.imd_of, _fixtures.imd, _fixtures.bridge


def installed():
    """The packages are there, and are those that the lockfile names now."""
    finished = os.path.join(modules_dir(), "node_modules/.finished")
    return os.path.exists(finished) and filecmp.cmp(finished, os.path.join(HERE, "package-lock.json"), False)


def pytest_configure(config):
    _fixtures.pytest_configure(config)
    if not shutil.which("node"):
        pytest.exit("the interop tests need node (Debian package nodejs): run ./check", 1)
    if not installed():
        pytest.exit(f"the npm packages of the interop tests are not in {modules_dir()}: run ./check", 1)


@pytest.fixture
def im_server(folder):
    """im_server() starts one more server."""
    started = []

    def start():
        server = NodeServer(folder, name=f"node{len(started)}")
        started.append(server)
        return server.start()

    yield start
    _fixtures.stop_all(started)
