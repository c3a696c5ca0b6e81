"""A child process of the tests: dies with us, writes to files, and its end is always waited for."""

import ctypes
import os
import signal
import subprocess

from patience import PATIENCE, Impatient

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def build_dir():
    return os.environ["IMD_BUILD_DIR"]


def _die_with_parent(parent, umask):
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)
    if umask is not None:
        os.umask(umask)


class Process:
    """Start it from the main thread: PDEATHSIG follows the thread that made the child."""

    def __init__(self, argv, folder, name, env=None, stdin=None, stdout=None, umask=None, pass_fds=()):
        self.argv = argv
        self.stderr_path = os.path.join(folder, f"{name}.stderr")
        parent = os.getpid()
        with open(self.stderr_path, "ab") as stderr:
            self.child = subprocess.Popen(
                argv, stdin=stdin or subprocess.DEVNULL, stdout=stdout or stderr, stderr=stderr, start_new_session=True,
                env={**os.environ, **(env or {})}, pass_fds=pass_fds, cwd="/",
                preexec_fn=lambda: _die_with_parent(parent, umask))

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child.poll() is None

    def stderr(self):
        with open(self.stderr_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, seconds=PATIENCE):
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Impatient(f"{self.argv[0]} did not end within {seconds:g} s") from None

    def kill(self):
        """Ends the whole group, at once; safe to call twice."""
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        if self.child.stdout:
            self.child.stdout.close()


def run(argv, env=None, seconds=PATIENCE):
    """A short-lived program: (exit status, stdout, stderr)."""
    parent = os.getpid()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds,
                          env={**os.environ, **(env or {})}, preexec_fn=lambda: _die_with_parent(parent, None))
    return done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace")


def preload(folder, name, source):
    """Builds a small C library that goes before libc: what LD_PRELOAD must be. Not for sanitizers, which must come first."""
    path, library = os.path.join(folder, f"{name}.c"), os.path.join(folder, f"{name}.so")
    with open(path, "w") as f:
        f.write(source)
    status, _, error = run(["cc", "-shared", "-fPIC", "-o", library, path])
    assert status == 0, error
    return library
