# SPDX-License-Identifier: Apache-2.0
"""A bare Debian in a folder, as debootstrap makes it, in which a package is installed as on any host."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .scratch import require_unmounted

MIRROR = "http://deb.debian.org/debian"
SUITES = {"12": "bookworm", "13": "trixie"}
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


class Debian:
    """The system in `folder`: commands run in it by chroot, in mount namespaces of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, release: str, folder: Path, *packages: str, variant: str | None = "minbase") -> Debian:
        """Fetch a release of Debian with these packages: what is essential and apt, or another variant of debootstrap.

        None is what Debian's installer begins with: also what is important, systemd among it.
        """
        folder.mkdir()
        variants = [] if variant is None else [f"--variant={variant}"]
        include = ["--include", ",".join(("ca-certificates", *packages))]
        log = folder.with_suffix(".log")
        with log.open("w") as written:
            subprocess.run(
                ["debootstrap", *variants, *include, SUITES[release], folder, MIRROR],
                stdout=written,
                stderr=written,
                check=True,
            )
        return cls(folder)

    def copy(self, folder: Path) -> Debian:
        """Return a copy of it, in which nothing may be mounted."""
        require_unmounted(self.folder)
        subprocess.run(["cp", "-a", "--one-file-system", "--reflink=auto", self.folder, folder], check=True)
        return Debian(folder)

    def put(self, file: Path) -> str:
        """Copy a file into it; return its path there."""
        shutil.copy(file, self.folder / "root")
        return f"/root/{file.name}"

    def argv(self, *command: str, bpffs: Path | None = None) -> list[str]:
        """Return the command line that runs a command in it."""
        mounts = f"mount -t proc proc {self.folder}/proc && mount -t sysfs -o ro sys {self.folder}/sys"
        if bpffs is not None:
            mounts += f" && mount --bind {bpffs} {self.folder}/sys/fs/bpf"
        script = f'{mounts} && exec chroot {self.folder} "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh", *command]

    def run(self, *command: str, check: bool = True, bpffs: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command in it, with the host's network; only what fetches packages uses that."""
        done = subprocess.run(
            self.argv(*command, bpffs=bpffs), capture_output=True, text=True, check=False, env=ENVIRONMENT
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done

    def install(self, *packages: str, recommended: bool = False) -> str:
        """Install packages or .deb files; return what apt said."""
        options = ["-y", "-q"] if recommended else ["-y", "-q", "--no-install-recommends"]
        return self.run("apt-get", "install", *options, *packages).stdout


def release_of(package: Path) -> str:
    """Return the release of Debian that a package is for: 12."""
    found = re.search(r"\+deb(\d+)_", package.name)
    assert found is not None, f"{package} is no package of scripts/package"
    return found[1]


def version_of(package: Path) -> str:
    """Return the version of a package: 0.9.0+deb12."""
    asked = ["dpkg-deb", "--field", str(package), "Version"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def newer(package: Path, folder: Path) -> Path:
    """Return a copy of a package with a later version, otherwise the same."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        subprocess.run(["dpkg-deb", "-R", package, scratch], check=True)
        control = Path(scratch) / "DEBIAN" / "control"
        control.write_text(re.sub(r"(?m)^(Version: .*)$", r"\1+later", control.read_text()))
        target = folder / f"later-{package.name}"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "-b", scratch, target], check=True, stdout=subprocess.DEVNULL
        )
    return target
