"""Threads of a process under test: found by their names, stopped one by one as a debugger does, and let go."""

import contextlib
import ctypes
import os
import platform
import signal

import pytest

_SEIZE, _INTERRUPT, _DETACH, _SINGLESTEP, _SYSCALL, _PEEKUSER = 0x4206, 0x4207, 17, 9, 24, 3
_RAX, _ORIG_RAX = 80, 120  # where x86-64's user area has the result and the number of a system call
_ENOSYS = 38               # the result while it is entered
SENDMMSG, RECVMMSG = 307, 299
_WALL = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def thread_named(pid, name):
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/task/{tid}/comm") as f:
            if f.read().strip() == name:
                return int(tid)
    raise AssertionError(f"no thread {name}")


def _ptrace(request, tid):
    if _libc.ptrace(request, tid, None, None) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def stopped(tid):
    """This thread stands still; the others of its process go on."""
    try:
        _ptrace(_SEIZE, tid)
    except PermissionError:
        pytest.skip("no thread can be stopped here: ptrace is not allowed")
    _ptrace(_INTERRUPT, tid)
    os.waitpid(tid, _WALL)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            _ptrace(_DETACH, tid)


def let_die(tid):
    """A stopped thread whose process is killed is gone only when whoever stopped it has seen that."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(tid, os.WNOHANG | _WALL)


def kill_within(pid, steps):
    """The process's first thread is let go for so many instructions, from wherever it is, and the process killed there."""
    try:
        with stopped(pid):
            for _ in range(steps):
                _ptrace(_SINGLESTEP, pid)
                os.waitpid(pid, _WALL)
            os.kill(pid, signal.SIGKILL)
    except pytest.skip.Exception:
        os.kill(pid, signal.SIGKILL)  # where no thread can be stopped: at whatever moment


def _has_done(pid, call):
    return _libc.ptrace(_PEEKUSER, pid, _ORIG_RAX, None) == call and _libc.ptrace(_PEEKUSER, pid, _RAX, None) != -_ENOSYS


def kill_behind(pid, call, cause):
    """What cause() brings about makes the process's first thread do this system call; it is killed before it knows."""
    if platform.machine() != "x86_64":
        pytest.skip("system calls are recognised on x86-64 only")
    with stopped(pid):
        cause()
        while True:
            _ptrace(_SYSCALL, pid)
            os.waitpid(pid, _WALL)
            if _has_done(pid, call):
                break
        os.kill(pid, signal.SIGKILL)
