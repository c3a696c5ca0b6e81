"""A program in a real terminal: a private tmux that types, shows the screen, and is gone when the test is over."""

import os
import re
import subprocess

from patience import PATIENCE, until
from process import Process

COLUMNS, ROWS = 80, 24
# A terminal of this kind everywhere, whatever the tests themselves run in.
PLAIN = {"LC_ALL": "C.UTF-8", "TERM": "screen", "NO_COLOR": "", "IMCTL_SOCKET": "", "XDG_RUNTIME_DIR": ""}
DEFAULT_COLOURS = "\x1b[39m\x1b[49m"  # which tmux adds to each change of colours
# tmux would write on the screen of a program that has ended.
KEEP = 'trap : INT; "$@"; echo $? >"$0.new"; mv "$0.new" "$0"; exec sleep infinity'


def is_gone(pid):
    """Not there, or only waiting for init to take notice."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Terminal:
    """Runs argv in a terminal; the last screen stays when argv has ended."""

    def __init__(self, folder, argv, env=None, columns=COLUMNS, rows=ROWS, name="terminal"):
        self.socket_path = os.path.join(folder, f"{name}.tmux")
        self.status_path = os.path.join(folder, f"{name}.status")
        # -D: it stays in the foreground, so that it dies with us.
        self.server = Process(["tmux", "-S", self.socket_path, "-f", "/dev/null", "-u", "-D"], folder, name, env=PLAIN)
        self.pane_pid = None
        until(self._answers, "tmux is ready")
        settings = [f"{key}={value}" for key, value in {**PLAIN, **(env or {})}.items()]
        self._tmux("set", "-g", "status", "off", ";", "set", "-g", "escape-time", "0", ";",
                   "new-session", "-d", "-x", str(columns), "-y", str(rows), "--",
                   "env", *settings, "sh", "-c", KEEP, self.status_path, *argv)
        self.pane_pid = int(self._show("#{pane_pid}"))

    def _tmux(self, *words, check=True):
        done = subprocess.run(["tmux", "-S", self.socket_path, "-u", *words], capture_output=True, timeout=PATIENCE,
                              stdin=subprocess.DEVNULL, env={**os.environ, **PLAIN})
        assert not check or done.returncode == 0, f"tmux {words}: {done.stderr.decode()}"
        return done.stdout.decode()

    def _answers(self):
        return os.path.exists(self.socket_path) and self._tmux("show", "-gv", "status", check=False)

    def _show(self, format):
        return self._tmux("display", "-p", format).strip()

    # Typing

    def type(self, text):
        self._tmux("send-keys", "-l", "--", text)

    def key(self, *names):
        """Keys by tmux' names: Enter, C-c, Up, BSpace."""
        self._tmux("send-keys", *names)

    def enter(self, text):
        self.type(text)
        self.key("Enter")

    def resize(self, columns, rows):
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    # Looking

    def lines(self, colours=False):
        """The lines of the screen, without empty ones at its end."""
        text = self._tmux("capture-pane", "-p", *(["-e"] if colours else [])).replace(DEFAULT_COLOURS, "")
        return [line.rstrip() for line in text.rstrip("\n").split("\n")]

    def screen(self):
        return "\n".join(self.lines())

    def history(self):
        """Also what has left the screen at its top."""
        return self._tmux("capture-pane", "-p", "-S", "-")

    def cursor(self):
        """(column, row), from 0."""
        return tuple(int(n) for n in self._show("#{cursor_x} #{cursor_y}").split())

    def wait(self, pattern, seconds=PATIENCE):
        """Waits until the screen has a match, and returns it."""
        return until(lambda: re.search(pattern, self.screen(), re.MULTILINE), f"{pattern!r} on the screen", seconds)

    def wait_last(self, pattern, seconds=PATIENCE):
        """Waits until the last line of the screen matches as a whole."""
        return until(lambda: re.fullmatch(pattern, self.lines()[-1]), f"{pattern!r} in the last line", seconds)

    def wait_end(self, seconds=PATIENCE):
        """The exit status."""
        until(lambda: os.path.exists(self.status_path), "the program in the terminal ends", seconds)
        with open(self.status_path) as f:
            return int(f.read())

    def tty(self):
        """Its name, as ps(1) writes it."""
        return self._show("#{pane_tty}").removeprefix("/dev/")

    def stop(self):
        """Safe to call twice."""
        if not self.server:
            return
        server, self.server = self.server, None
        try:
            if server.running():
                print("---- the screen of the terminal\n" + self._tmux("capture-pane", "-p", check=False))
                self._tmux("kill-server", check=False)
            if self.pane_pid:
                until(lambda: is_gone(self.pane_pid), "the program in the terminal is gone")
        finally:
            server.kill()
