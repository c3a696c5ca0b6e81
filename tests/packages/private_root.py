"""A copy of this machine's file system, in which packages are installed and nothing is left when it is closed."""

import os
import pathlib
import subprocess

SCRIPT = pathlib.Path(__file__).parent / "root"
UNSHARE = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts"]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


class Unavailable(Exception):
    """Why there can be none here."""


def child_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


class PrivateRoot:
    def __init__(self, place):
        if os.getuid() != 0:
            raise Unavailable("only root may mount")
        self.process = subprocess.Popen([*UNSHARE, SCRIPT, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        if self.process.stdout.readline() != "ready\n":
            _, error = self.process.communicate()
            raise Unavailable(f"no copy of the file system to be had here: {error.strip()}")
        self.pid = child_of(self.process.pid)

    def close(self):
        self.process.communicate()

    def run(self, *command, status=0, cwd="/"):
        """Runs a command in it; its output, which is also shown when it ends with another status."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--ipc", "--uts"]
        done = subprocess.run([*enter, "env", f"--chdir={cwd}", *command], env=ENVIRONMENT, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def path(self, name):
        """Where a file of it is for who is outside."""
        return pathlib.Path(f"/proc/{self.pid}/root") / name.lstrip("/")

    def written(self):
        """What was written in it and is there."""
        return self.run("find", "/run/written", "-mindepth", "1", "!", "-type", "c", "-printf", "/%P\\n").splitlines()
