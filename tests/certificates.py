# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made by openssl: a CA, and what it has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["Authority"]

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """A CA in `folder`, which is made there."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        given = ("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.certificate, "-subj", f"/CN={name}")
        _openssl(*given, "-days", "2")

    def sign(self, name: str, subject: str, *, names: str = "", days: int = 2) -> tuple[Path, Path]:
        """Return the files of a certificate and its key; `names` are alternative ones, such as `DNS:localhost`.

        With fewer than 0 days it has expired.
        """
        certificate, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.folder / f"{name}.ext"
        alternative = f"subjectAltName={names}\n" if names else ""
        extensions.write_text(f"basicConstraints=critical,CA:FALSE\n{alternative}")
        _openssl("req", "-new", *_KEY, "-keyout", key, "-out", request, "-subj", subject)
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-days", str(days), "-extfile", extensions)
        _openssl("x509", "-req", "-in", request, *signed, "-out", certificate)
        return certificate, key

    def revoked(self, certificate: Path) -> bytes:
        """Return a revocation list that has this certificate."""
        database, settings, made = (self.folder / f"{certificate.stem}.{end}" for end in ("index", "cnf", "crl"))
        database.write_text("")
        settings.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={database}\ndefault_md=sha256\ndefault_crl_days=2\n")
        given = ("ca", "-config", settings, "-keyfile", self._key, "-cert", self.certificate)
        _openssl(*given, "-revoke", certificate)
        _openssl(*given, "-gencrl", "-out", made)
        return made.read_bytes()


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
