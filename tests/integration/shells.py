"""Shells that complete a line: offered(line) is what is offered where the line ends."""

import os
import pty
import shlex
import subprocess

from patience import PATIENCE, until
from process import build_dir


def script(shell, name):
    return os.path.join(build_dir(), "cli/completions", shell, name)


class Shell:
    def __init__(self, folder, names):
        self.folder = folder
        self.env = {**os.environ, "HOME": folder, "XDG_RUNTIME_DIR": folder, "LANG": "C.UTF-8", **names}

    def run(self, *argv):
        done = subprocess.run(argv, capture_output=True, text=True, env=self.env, cwd=self.folder, timeout=PATIENCE,
                              stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stderr) == (0, ""), argv
        return done.stdout.splitlines()

    def stop(self):
        pass


class Bash(Shell):
    def __init__(self, folder):
        super().__init__(folder, {})

    def offered(self, line):
        """Words as bash cuts them: '=' is one of its own."""
        words = line.replace("=", " = ").split(" ")
        words = [word for word in words[:-1] if word] + [words[-1]]
        return self.run("bash", "--norc", "-c",
                        f"source {shlex.quote(script('bash', 'imctl'))}; COMP_WORDS=({' '.join(map(shlex.quote, words))}); "
                        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); $(complete -p imctl | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
                        "((${#COMPREPLY[@]} == 0)) || printf '%s\\n' \"${COMPREPLY[@]}\"")


class Fish(Shell):
    def __init__(self, folder):
        super().__init__(folder, {"XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder})

    def offered(self, line):
        lines = self.run("fish", "--no-config", "-c",
                         f"source {shlex.quote(script('fish', 'imctl.fish'))}; complete -C {shlex.quote(line)}")
        return [line.split("\t")[0] for line in lines]


# Completes on Tab as ever, but writes down what is offered and shows nothing. compadd -a names arrays of its callers, hence
# names that no caller has.
ZSHRC = """
fpath=({folder} $fpath)
autoload -Uz compinit && compinit -u -D
compadd() {{
    local -a _hits
    local -i _end=${{@[(i)(-|--)]}}
    if [[ -z ${{(M)@[1,_end]:#-[OAD]}} ]]; then
        builtin compadd -O _hits "$@"
        print -rl -- $_hits >>$HOME/offered
    fi
    builtin compadd "$@"
}}
asked() {{
    : >$HOME/offered
    _main_complete
    compstate[insert]= compstate[list]=
    : >$HOME/done
}}
zle -C asked complete-word asked
bindkey '^I' asked
bindkey '^U' kill-whole-line
PS1=
zle-line-init() {{ : >$HOME/done }}
zle -N zle-line-init
"""


class Zsh(Shell):
    """One zsh at a terminal, since zsh completes only there."""

    def __init__(self, folder):
        super().__init__(folder, {"ZDOTDIR": folder, "TERM": "dumb"})
        os.symlink(script("zsh", "_imctl"), os.path.join(folder, "_imctl"))
        with open(os.path.join(folder, ".zshrc"), "w", encoding="utf-8") as f:
            f.write(ZSHRC.format(folder=folder))
        self.terminal, end = pty.openpty()
        self.child = subprocess.Popen(["zsh", "-d", "-i"], stdin=end, stdout=end, stderr=end, env=self.env, cwd=folder,
                                      start_new_session=True)
        os.close(end)
        self.ready("zsh has started")

    def ready(self, what):
        path = os.path.join(self.folder, "done")
        until(lambda: os.path.exists(path), what)
        os.unlink(path)

    def offered(self, line):
        os.write(self.terminal, f"\x15{line}\t".encode())
        self.ready(f"zsh has completed '{line}'")
        with open(os.path.join(self.folder, "offered"), encoding="utf-8") as f:
            return [word for word in f.read().splitlines() if word]

    def stop(self):
        self.child.kill()
        self.child.wait()
        os.close(self.terminal)
