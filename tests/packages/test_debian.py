"""The Debian packages: what is in them, and what they do to a machine that installs, upgrades and removes them."""

import os
import re
import subprocess

from conftest import PACKAGES, SOURCE

BUILD_ESSENTIAL = {"gcc", "g++", "libc6-dev", "make"}  # never named in Build-Depends
DEBHELPER = {"debhelper-compat", "dh-sequence-installsysusers"}
MOVED = [
    (r"/usr/share/doc/imd/examples/(?=.*\.c$)", "/usr/share/doc/libimctl-dev/examples/"),
    (r"(?<=/man/man\d/)(.*)$", r"\1.gz"),
]
ASKED = "/tmp/asked"  # what systemctl was asked
SYSTEMCTL = f'#!/bin/sh\necho "$*" >>{ASKED}\n'


def stanzas():
    """debian/control's, each a dictionary."""
    text = (SOURCE / "debian/control").read_text()
    return [dict(re.findall(r"^(\S+):[ \n]*((?:.*\n?)(?:[ ].*\n?)*)", stanza, re.M)) for stanza in text.split("\n\n")]


def dependencies(stanza, field):
    """Each with its restrictions, such as <!nocheck>."""
    return dict(re.findall(r"([a-z0-9.+-]+)(?: \([^)]*\))?(?: <(.*?)>)?,", stanza.get(field, "")))


def listed(*groups):
    rows = [line.split() for line in (SOURCE / ".ci/packages").read_text().splitlines()]
    return {row[1] for row in rows if row and row[0] in groups}


def test_build_dependencies_are_those_that_ci_installs():
    source, *binaries = stanzas()
    needed = dependencies(source, "Build-Depends")
    recommended = {name for stanza in binaries for name in dependencies(stanza, "Recommends")}
    always = {name for name, restriction in needed.items() if not restriction}
    assert always - DEBHELPER == listed("build") - BUILD_ESSENTIAL - recommended
    assert {restriction for restriction in needed.values()} == {"", "!nocheck"}
    assert set(needed) - always <= listed("server", "test")


def test_lintian_finds_no_errors(packages):
    done = subprocess.run(["lintian", "--fail-on", "error", packages.changes], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=os.environ | {"TMPDIR": str(packages.folder)})
    assert done.returncode == 0, done.stdout


def packaged(path):
    """Where a file that CMake installs is in the packages."""
    for place, other in MOVED:
        path = re.sub(place, other, path)
    return path


def test_what_cmake_installs_is_in_exactly_one_package(packages):
    manifest = (packages.source / "build/debian/install_manifest.txt").read_text().split()
    contents = [path for name in PACKAGES for path in packages.contents(name)]
    added = [f"/usr/share/doc/{name}/{file}" for name in PACKAGES for file in ("changelog.gz", "copyright")]
    assert sorted(contents) == sorted([*map(packaged, manifest), *added])


def install(root):
    return root.run("dpkg", "--force-unsafe-io", "--recursive", "--install", "/tmp/packages")


def test_installed_packages_work(root):
    install(root)
    assert root.run("getent", "passwd", "imd").split(":")[5:] == ["/var/lib/imd", "/usr/sbin/nologin\n"]
    assert root.run("stat", "--format=%A %U", "/etc/imd") == "drwxr-xr-x root\n"
    assert "ExecStart=/usr/sbin/imd " in root.run("cat", "/usr/lib/systemd/system/imd@.service")
    root.run("/tmp/source/debian/tests/smoke", cwd="/tmp/source")


def systemd_pretended(root):
    """As if systemd ran: it is only written down what it is asked."""
    root.path("/run/systemd/system").mkdir(parents=True)
    root.path("/usr/bin/systemctl").unlink()
    root.path("/usr/bin/systemctl").write_text(SYSTEMCTL)
    root.path("/usr/bin/systemctl").chmod(0o755)


def asked(root):
    """What systemctl was asked since the last time."""
    path = root.path(ASKED)
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_accounts_that_run_are_restarted_by_an_upgrade_and_stopped_by_a_removal(root):
    systemd_pretended(root)
    install(root)
    assert asked(root) == []
    install(root)
    assert asked(root) == ["--system daemon-reload", "try-restart imd@*.service"]
    root.run("dpkg", "--remove", "imd")
    assert asked(root) == ["stop imd@*.socket imd@*.service", "--system daemon-reload"]


def ours(root):
    return [path for path in root.written() if re.search("imd|imctl", path) and not path.startswith("/var/lib/dpkg/")]


def test_what_accounts_have_on_disk_outlives_a_removal_and_their_configuration_a_purge(root):
    install(root)
    state = root.path("/var/lib/imd/work")
    state.mkdir(parents=True)
    (state / "imd.db").touch()
    enabled = root.path("/etc/systemd/system/multi-user.target.wants/imd@work.service")
    enabled.parent.mkdir(exist_ok=True)
    enabled.symlink_to("/lib/systemd/system/imd@.service")
    root.path("/etc/imd/work.conf").touch()
    root.path("/run/imd").mkdir()
    root.run("dpkg", "--remove", *PACKAGES)
    assert (state / "imd.db").exists()
    assert enabled.is_symlink()
    root.run("dpkg", "--purge", *PACKAGES)
    assert ours(root) == ["/etc/imd", "/etc/imd/work.conf"]
    assert not root.path("/run/imd").exists()
    assert root.run("getent", "passwd", "imd") != "", "its number is not given to another user"


def test_a_purge_leaves_nothing(root):
    install(root)
    assert "/usr/sbin/imd" in ours(root)
    root.run("dpkg", "--purge", *PACKAGES)
    assert ours(root) == []
    assert "imctl" not in root.run("ldconfig", "-p")
