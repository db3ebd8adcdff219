"""Certificates, checked with the program that made them."""

import json
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest

from inferfleet_local.pki import Authority, Pair, kubeconfig, new_key, public_key


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki", "ca")


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, text=True
    ).stdout


def purpose_holds(authority: Authority, pair: Pair, purpose: str) -> bool:
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose]
    command += ["-CAfile", str(authority.pair.certificate), str(pair.certificate)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_a_client_certificate_names_user_and_group_and_serves_nothing(authority: Authority):
    pair = authority.issue("admin", common_name="admin", organization="system:masters")
    subject = openssl("x509", "-in", pair.certificate, "-noout", "-subject")
    assert "system:masters" in subject
    assert "admin" in subject
    assert purpose_holds(authority, pair, "sslclient")
    assert not purpose_holds(authority, pair, "sslserver")


def test_a_server_certificate_names_its_addresses(authority: Authority):
    pair = authority.issue("api", common_name="api", alternatives=["DNS:kubernetes", "IP:10.1.0.1"])
    text = openssl("x509", "-in", pair.certificate, "-noout", "-ext", "subjectAltName")
    assert "DNS:kubernetes" in text
    assert "IP Address:10.1.0.1" in text
    assert purpose_holds(authority, pair, "sslserver")


def test_another_authority_vouches_for_nobody_of_ours(authority: Authority, tmp_path: Path):
    pair = authority.issue("admin", common_name="admin")
    assert not purpose_holds(Authority(tmp_path / "other", "ca"), pair, "sslclient")


def test_what_exists_is_kept_so_that_a_crashed_start_can_go_on(authority: Authority):
    first = authority.issue("admin", common_name="admin").certificate.read_bytes()
    assert authority.issue("admin", common_name="admin").certificate.read_bytes() == first


def test_two_certificates_of_one_authority_have_different_serial_numbers(authority: Authority):
    one, two = (authority.issue(name, common_name=name) for name in ("a", "b"))
    assert openssl("x509", "-in", one.certificate, "-noout", "-serial") != openssl(
        "x509", "-in", two.certificate, "-noout", "-serial"
    )


def test_keys_are_for_the_owner_only(tmp_path: Path):
    key = new_key(tmp_path / "k.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert "BEGIN PUBLIC KEY" in public_key(key).read_text()


def test_a_kubeconfig_holds_everything_inside(authority: Authority, tmp_path: Path):
    pair = authority.issue("admin", common_name="admin")
    path = kubeconfig(tmp_path / "k", server="https://x", authority=authority.pair.certificate, pair=pair)
    user = json.loads(path.read_text())["users"][0]["user"]
    assert b64decode(user["client-certificate-data"]) == pair.certificate.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
