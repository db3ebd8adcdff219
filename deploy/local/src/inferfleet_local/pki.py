"""Keys and certificates, made with the openssl program; what exists is kept."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferfleet_local.run import run
from inferfleet_local.state import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAYS = "3650"
CURVE = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path
    name: str

    @property
    def pair(self) -> Pair:
        """The authority's own certificate, made on first use."""
        pair = self._pair(self.name)
        if not pair.certificate.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            new_key(pair.key)
            draft = pair.certificate.with_suffix(".draft")
            run(
                [
                    *("openssl", "req", "-x509", "-new", "-key", pair.key, "-days", DAYS, "-out", draft),
                    *("-subj", f"/CN=inferfleet-{self.name}"),
                    *("-addext", "keyUsage=critical,keyCertSign,digitalSignature"),
                ]
            )
            draft.rename(pair.certificate)
        return pair

    def issue(
        self, name: str, *, common_name: str, organization: str = "", alternatives: Sequence[str] = ()
    ) -> Pair:
        """Issue a certificate for a client, and for a server where there are alternative names.

        Args:
            name: The files' name.
            common_name: The user, by Kubernetes' rule.
            organization: The user's group, by Kubernetes' rule.
            alternatives: Names and addresses of a server, as `DNS:…` and `IP:…`.
        """
        pair = self._pair(name)
        if pair.certificate.exists():
            return pair
        ours = self.pair
        new_key(pair.key)
        subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
        request = run(["openssl", "req", "-new", "-key", pair.key, "-subj", subject])
        draft, extensions = pair.certificate.with_suffix(".draft"), pair.certificate.with_suffix(".ext")
        extensions.write_text(extension_lines(alternatives))
        run(
            [
                *("openssl", "x509", "-req", "-CA", ours.certificate, "-CAkey", ours.key, "-days", DAYS),
                *("-set_serial", f"0x{_serial(name)}", "-extfile", extensions, "-out", draft),
            ],
            stdin=request,
        )
        extensions.unlink()
        draft.rename(pair.certificate)
        return pair

    def _pair(self, name: str) -> Pair:
        return Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")


def _serial(name: str) -> str:
    # distinct per authority and name; the first byte keeps it positive
    return f"01{name.encode().hex()}"[:40]


def extension_lines(alternatives: Sequence[str]) -> str:
    """Render what openssl puts into a certificate."""
    usages = "clientAuth,serverAuth" if alternatives else "clientAuth"
    lines = ["keyUsage=critical,digitalSignature", f"extendedKeyUsage={usages}", "basicConstraints=CA:FALSE"]
    if alternatives:
        lines.append(f"subjectAltName={','.join(alternatives)}")
    return "\n".join(lines) + "\n"


def new_key(path: Path) -> Path:
    """Make a private key unless it exists."""
    if not path.exists():
        write_atomically(path, run(["openssl", "genpkey", *CURVE]), mode=0o600)
    return path


def public_key(key: Path) -> Path:
    """Write a private key's public half beside it."""
    path = key.with_suffix(".pub")
    if not path.exists():
        write_atomically(path, run(["openssl", "pkey", "-in", key, "-pubout"]))
    return path


def kubeconfig(path: Path, *, server: str, authority: Path, pair: Pair) -> Path:
    """Write a kubeconfig with everything inside; JSON is YAML."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "local", "cluster": {"server": server, "certificate-authority-data": _inline(authority)}}
        ],
        "users": [
            {
                "name": "local",
                "user": {
                    "client-certificate-data": _inline(pair.certificate),
                    "client-key-data": _inline(pair.key),
                },
            }
        ],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }
    write_atomically(path, json.dumps(content, indent=1), mode=0o600)
    return path


def _inline(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()
