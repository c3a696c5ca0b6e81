"""What a process may do here: a line of JSON, {what: "ok" or the error's name}. Run as it is, and in imd's unit."""

import ctypes
import errno
import json
import mmap
import os
import socket
import tempfile

libc = ctypes.CDLL(None, use_errno=True)
PTRACE_TRACEME = 0
ADDR_NO_RANDOMIZE = 0x0040000
CLONE_NEWUSER = 0x10000000


def checked(value):
    if value == -1:
        raise OSError(ctypes.get_errno(), "")


def write_in(folder):
    os.close(os.open(os.path.join(folder, "probe"), os.O_WRONLY | os.O_CREAT))


def own_file(act):
    with tempfile.NamedTemporaryFile() as f:
        act(f.name)


def multicast():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        s.sendto(b"x", ("224.0.0.251", 5353))


def unicast():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"x", ("127.0.0.1", 5353))


def core_limit():
    import resource
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        raise OSError(errno.EFBIG, "")


ATTEMPTS = {
    "write own state": lambda: write_in(os.environ.get("STATE_DIRECTORY", "/var/lib/imd/work")),
    "write another account's state": lambda: write_in("/var/lib/imd/home"),
    "write /tmp": lambda: write_in("/tmp"),
    "write /etc": lambda: write_in("/etc"),
    "write /etc/imd": lambda: write_in("/etc/imd"),
    "write /usr": lambda: write_in("/usr"),
    "write /run/imd": lambda: write_in("/run/imd"),
    "see a user's home": lambda: os.stat("/home/ann"),
    "see process 1": lambda: os.stat("/proc/1"),
    "see /proc/sys": lambda: os.stat("/proc/sys/kernel"),
    "mount": lambda: checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
    "ptrace": lambda: checked(libc.ptrace(PTRACE_TRACEME, 0, 0, 0)),
    "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 1),
    "chown": lambda: own_file(lambda name: os.chown(name, os.getuid(), os.getgid())),
    "setuid bit": lambda: own_file(lambda name: os.chmod(name, 0o4755)),
    "personality": lambda: checked(libc.personality(ADDR_NO_RANDOMIZE)),
    "memory that is code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "namespace": lambda: checked(libc.unshare(CLONE_NEWUSER)),
    "core": core_limit,
    "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "inet socket": lambda: socket.socket(socket.AF_INET).close(),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM).close(),
    "vsock socket": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close(),
    "unicast": unicast,
    "multicast": multicast,
}


def outcome(attempt):
    try:
        attempt()
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]


if __name__ == "__main__":
    print(json.dumps({what: outcome(attempt) for what, attempt in ATTEMPTS.items()}))
