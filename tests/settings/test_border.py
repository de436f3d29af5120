"""Every mistake that an operator can make, told with its place and with what to write instead."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.command import CommandReload
from tests.settings.host import PASSWORD, TOKEN, Host, changed

if TYPE_CHECKING:
    from pathlib import Path

BROKER = "identities.broker"
PEM: dict[str, Any] = {"format": "pem", "certificate": "tls.crt", "key": "tls.key"}
P12: dict[str, Any] = {"format": "pkcs12", "keystore": "k.p12", "password_file": "password"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a folder with a password and a token, and files that are wrong in some way."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("12345\n")
    (tmp_path / "umlaut").write_text("pässword\n")
    (tmp_path / "latin").write_bytes(b"p\xe4ssword\n")
    (tmp_path / "control").write_text("pass\x07word\n")
    (tmp_path / "large").write_text("x" * 70_000)
    (tmp_path / "plain").write_text("no program")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to-ca").symlink_to("ca")
    return Host(tmp_path)


MISTAKES: list[tuple[str, Any, str, str]] = [
    # what is changed, to what, the key that is blamed, a word of what is told
    ("colour", 1, "colour", "no key that is known here"),
    ("identity", {}, "identity", "did you mean `identities`?"),
    (f"{BROKER}.lifetme", "1d", f"{BROKER}.lifetme", "did you mean `lifetime`?"),
    (f"{BROKER}.pem", 1, f"{BROKER}.pem", "no key that is known here"),
    (f"{BROKER}.sans.dsn", [], f"{BROKER}.sans.dsn", "did you mean `dns`?"),
    (f"{BROKER}.files.0.certifcate", "x", f"{BROKER}.files[0].certifcate", "did you mean `certificate`?"),
    (f"{BROKER}.files.0.pem", "x", f"{BROKER}.files[0].pem", "no key that is known here"),
    (f"{BROKER}.subject", {"common_nam": "x"}, f"{BROKER}.subject.common_nam", "did you mean `common_name`?"),
    (BROKER, {1: 2}, f"{BROKER}[1]", "write it in quotes"),
    ("issuers.vault.rol", "x", "issuers.vault.rol", "did you mean `role`?"),
    ("issuers.vault.auth.tokn_file", "x", "issuers.vault.auth.tokn_file", "did you mean `token_file`?"),
    ("http.lissen", "x", "http.lissen", "did you mean `listen`?"),
    (f"{BROKER}.lifetime", ..., f"{BROKER}.lifetime", "is missing"),
    (f"{BROKER}.files", ..., f"{BROKER}.files", "is missing"),
    (f"{BROKER}.directory", ..., f"{BROKER}.directory", "is missing"),
    (f"{BROKER}.issuer", ..., f"{BROKER}.issuer", "is missing"),
    ("issuers.local.directory", ..., "issuers.local.directory", "is missing"),
    ("issuers.vault.role", ..., "issuers.vault.role", "is missing"),
    ("issuers.vault.role", "", "issuers.vault.role", "is empty"),
    ("issuers.vault.auth", ..., "issuers.vault.auth", "is missing"),
    ("issuers", {}, "issuers", "write at least one"),
    ("identities", ..., "identities", "write at least one"),
    ("identities.a/b", {}, "identities.a/b", "write letters"),
    # wrong kinds of value
    ("http", 5, "http", "write keys below it"),
    ("host", 5, "host", "in quotes"),
    ("log.format", "xml", "log.format", "write one of auto, text, json"),
    (BROKER, None, BROKER, "write keys below it"),
    (f"{BROKER}.directory", "", f"{BROKER}.directory", "write a path"),
    (f"{BROKER}.directory", "~/ssl", f"{BROKER}.directory", "write the path whole"),
    (f"{BROKER}.directory", 5, f"{BROKER}.directory", "in quotes"),
    (f"{BROKER}.subject", 5, f"{BROKER}.subject", "in quotes"),
    (f"{BROKER}.subject", "kafka1", f"{BROKER}.subject", "write CN="),
    (f"{BROKER}.subject", "CN=" + "x" * 65, f"{BROKER}.subject", "write CN="),
    (f"{BROKER}.subject", {"organization": "x" * 65}, f"{BROKER}.subject", "write a shorter one"),
    (f"{BROKER}.subject", {"country": "ch"}, f"{BROKER}.subject.country", "two capital letters"),
    (f"{BROKER}.sans.dns", "kafka1", f"{BROKER}.sans.dns", "write [one, two]"),
    (f"{BROKER}.usages", ["broker"], f"{BROKER}.usages[0]", "write one of server, client"),
    (f"{BROKER}.usages", [], f"{BROKER}.usages", "write at least one"),
    (f"{BROKER}.files", [], f"{BROKER}.files", "write at least one"),
    (f"{BROKER}.files.0", {"format": "bks"}, f"{BROKER}.files[0].format", "write one of pem, pkcs12, jks"),
    (f"{BROKER}.files.0", {"key": "tls.key"}, f"{BROKER}.files[0].format", "is missing"),
    (f"{BROKER}.files", ["tls.key"], f"{BROKER}.files[0]", "write keys below it"),
    (f"{BROKER}.key.reuse", "perhaps", f"{BROKER}.key.reuse", "write true or false"),
    ("issuers.local.type", "acme", "issuers.local.type", "write one of local_ca, aws_pca, vault"),
    ("issuers.local.type", ["vault"], "issuers.local.type", "write one of local_ca, aws_pca, vault"),
    ("issuers.local.type", ..., "issuers.local.type", "write one of local_ca, aws_pca, vault"),
    ("issuers.vault.auth.method", "ldap", "issuers.vault.auth.method", "write one of token, approle"),
    # passwords and tokens
    (f"{BROKER}.files.1.password_file", "absent", f"{BROKER}.files[1].password_file", "make the file"),
    (f"{BROKER}.files.1.password_file", "folder", f"{BROKER}.files[1].password_file", "directory"),
    (f"{BROKER}.files.1.password_file", "empty", f"{BROKER}.files[1].password_file", "is empty"),
    (f"{BROKER}.files.1.password_file", "short", f"{BROKER}.files[1].password_file", "write 6 or more"),
    (f"{BROKER}.files.1.password_file", "umlaut", f"{BROKER}.files[1].password_file", "printable ASCII"),
    (f"{BROKER}.files.1.password_file", "control", f"{BROKER}.files[1].password_file", "printable ASCII"),
    (f"{BROKER}.files.1.password_file", "latin", f"{BROKER}.files[1].password_file", "UTF-8"),
    (f"{BROKER}.files.1.password_file", "large", f"{BROKER}.files[1].password_file", "larger than"),
    (f"{BROKER}.files.1.password_file", ..., f"{BROKER}.files[1]", "write `password_file` or `password_environment`"),
    (f"{BROKER}.files.1.password_environment", "X", f"{BROKER}.files[1]", "not one place of its password"),
    ("issuers.vault.auth.token_file", "absent", "issuers.vault.auth.token_file", "make the file"),
    ("issuers.vault.auth.token_file", "empty", "issuers.vault.auth.token_file", "is empty"),
    ("issuers.vault.auth.token_file", ..., "issuers.vault.auth", "write `token_file` or `token_environment`"),
    ("issuers.vault.ca_file", "absent", "issuers.vault.ca_file", "write the path of one"),
    ("issuers.vault.ca_file", "folder", "issuers.vault.ca_file", "write the path of one"),
    (
        "issuers.vault.ca_file",
        "x" * 300,
        "issuers.vault.ca_file",
        "write the path of one",
    ),
    # addresses
    ("issuers.vault.addresses", [], "issuers.vault.addresses", "write at least one"),
    ("issuers.vault.addresses", ["vault:8200"], "issuers.vault.addresses[0]", "write https://"),
    ("issuers.vault.addresses", ["https://"], "issuers.vault.addresses[0]", "write https://"),
    ("issuers.vault.addresses", ["https://v:99999"], "issuers.vault.addresses[0]", "write https://"),
    ("issuers.vault.addresses", ["https://v:0"], "issuers.vault.addresses[0]", "write https://"),
    ("issuers.vault.addresses", ["https://v?x=1"], "issuers.vault.addresses[0]", "write https://"),
    ("issuers.vault.addresses", ["https://[::1"], "issuers.vault.addresses[0]", "write https://"),
    ("issuers.vault.addresses", ["http://v.example.com"], "issuers.vault.addresses[0]", "in the clear"),
    ("issuers.vault.addresses", [f"https://me:{PASSWORD}@v"], "issuers.vault.addresses[0]", "leave them out"),
    ("issuers.vault.addresses", [f"ftp://me:{PASSWORD}@v"], "issuers.vault.addresses[0]", "leave them out"),
    ("http.listen", "0.0.0.0:9847", "http.allowed_hosts", "write the names to answer to"),
    ("http.listen", "localhost", "http.listen", "write host:port"),
    ("http.listen", "localhost:0", "http.listen", "between 1 and 65535"),
    ("http.listen", "localhost:65536", "http.listen", "between 1 and 65535"),
    ("http.listen", "localhost:x", "http.listen", "write host:port"),
    ("http.listen", "::1:9847", "http.listen", "write host:port"),
    ("http.admin_group", "no-such-group", "http.admin_group", "write one that it knows"),
    (f"{BROKER}.prove", [{"address": "localhost"}], f"{BROKER}.prove[0].address", "write host:port"),
    (f"{BROKER}.prove", [{"address": "http://a:1"}], f"{BROKER}.prove[0].address", "write host:port"),
    (f"{BROKER}.prove", [{"address": "a:1", "within": "5"}], f"{BROKER}.prove[0].within", "write a span"),
    # names
    (f"{BROKER}.sans.ip", ["10.0.0.256"], f"{BROKER}.sans.ip[0]", "write one as 192.0.2.1"),
    (f"{BROKER}.sans.ip", ["10.0.0.0/8"], f"{BROKER}.sans.ip[0]", "write one as 192.0.2.1"),
    (f"{BROKER}.sans.ip", ["fe80::1%eth0"], f"{BROKER}.sans.ip[0]", "write one as 192.0.2.1"),
    (f"{BROKER}.sans.dns", ["a.*.example.com"], f"{BROKER}.sans.dns[0]", "leftmost label"),
    (f"{BROKER}.sans.dns", ["kafka*.example.com"], f"{BROKER}.sans.dns[0]", "leftmost label"),
    (f"{BROKER}.sans.dns", ["bücher.example"], f"{BROKER}.sans.dns[0]", "xn--"),
    (f"{BROKER}.sans.dns", ["a..b"], f"{BROKER}.sans.dns[0]", "write labels"),
    (f"{BROKER}.sans.dns", ["192.0.2.1"], f"{BROKER}.sans.dns[0]", "write it under `ip`"),
    (f"{BROKER}.sans.dns", ["10.0.0.256"], f"{BROKER}.sans.dns[0]", "write labels"),
    (f"{BROKER}.sans.uri", ["kafka"], f"{BROKER}.sans.uri[0]", "write one as spiffe://"),
    # keys
    (f"{BROKER}.key.algorithm", "rsa-1024", f"{BROKER}.key.algorithm", "write ec-p256, or rsa-3072"),
    (f"{BROKER}.key.algorithm", "rsa1024", f"{BROKER}.key.algorithm", "write ec-p256, or rsa-3072"),
    (f"{BROKER}.key.algorithm", "dsa", f"{BROKER}.key.algorithm", "write one of ec-p256"),
    # spans and renewal
    (f"{BROKER}.lifetime", "6s", f"{BROKER}.lifetime", "write a longer span"),
    (f"{BROKER}.lifetime", "0s", f"{BROKER}.lifetime", "write a span as 30d"),
    (f"{BROKER}.lifetime", "37000d", f"{BROKER}.lifetime", "write a span as 30d"),
    (f"{BROKER}.lifetime", 30, f"{BROKER}.lifetime", "has no unit"),
    (f"{BROKER}.lifetime", "a month", f"{BROKER}.lifetime", "write a span as 30d"),
    (f"{BROKER}.renew_at", 0.9999999, f"{BROKER}.renew_at", "write a smaller share"),
    (f"{BROKER}.renew_at", 1.5, f"{BROKER}.renew_at", "write a share as 0.66"),
    (f"{BROKER}.renew_at", 0, f"{BROKER}.renew_at", "write a share as 0.66"),
    (f"{BROKER}.renew_at", "soon", f"{BROKER}.renew_at", "write one as 0.66"),
    (f"{BROKER}.renew_before", "1s", f"{BROKER}.renew_before", "write a longer span"),
    (f"{BROKER}.renew_before", "30d", f"{BROKER}.renew_before", "write a shorter span"),
    (f"{BROKER}.renew_before", "31d", f"{BROKER}.renew_before", "write a shorter span"),
    # references
    (f"{BROKER}.issuer", "locl", f"{BROKER}.issuer", "did you mean 'local'?"),
    (f"{BROKER}.issuer", "acme", f"{BROKER}.issuer", "there are local, vault"),
    (f"{BROKER}.trust", [{"issuer": "valt"}], f"{BROKER}.trust[0].issuer", "did you mean 'vault'?"),
    (f"{BROKER}.trust", [{}], f"{BROKER}.trust[0]", "write one of `issuer`, `files`, `system`"),
    (f"{BROKER}.trust", [{"issuer": "local", "system": True}], f"{BROKER}.trust[0]", "names not one source"),
    (f"{BROKER}.trust", [{"files": "absent"}], f"{BROKER}.trust[0].files", "write a PEM file"),
    (f"{BROKER}.trust", [{"system": False}], f"{BROKER}.trust[0].system", "write one of True"),
    (
        f"{BROKER}.trust",
        [{"system": True, "password_file": "password"}],
        f"{BROKER}.trust[0].password_file",
        "is for `files` alone",
    ),
    (
        f"{BROKER}.trust",
        [{"issuer": "local", "password_environment": "NOT_THERE"}],
        f"{BROKER}.trust[0].password_environment",
        "is for `files` alone",
    ),
    (
        f"{BROKER}.trust",
        [{"files": ".", "password_file": "absent"}],
        f"{BROKER}.trust[0].password_file",
        "make the file",
    ),
    (
        f"{BROKER}.trust",
        [{"files": ".", "password_file": "password", "password_environment": "PASSWORD"}],
        f"{BROKER}.trust[0]",
        "not one place of its password",
    ),
    (f"{BROKER}.trust", [], f"{BROKER}.trust", "write sources"),
    (f"{BROKER}.peer_trust", [], f"{BROKER}.peer_trust", "write what peers trust"),
    ("issuers.vault.namespace", "a\nb", "issuers.vault.namespace", "write one as platform/kafka"),
    ("issuers.vault.server_name", "a..b", "issuers.vault.server_name", "write labels"),
    ("http.admin_socket", "/run/" + "x" * 103, "http.admin_socket", "107 at most: write a shorter one"),
    # files
    (f"{BROKER}.files.0.key", "../tls.key", f"{BROKER}.files[0].key", "leaves the directory"),
    (f"{BROKER}.files.0.key", "/tls.key", f"{BROKER}.files[0].key", "leaves the directory"),
    (f"{BROKER}.files.0.key", "..", f"{BROKER}.files[0].key", "begins with a dot"),
    (f"{BROKER}.files.0.key", ".current", f"{BROKER}.files[0].key", "begins with a dot"),
    (f"{BROKER}.files.0.key", "", f"{BROKER}.files[0].key", "no file name"),
    (f"{BROKER}.files.0.key", "a\nb", f"{BROKER}.files[0].key", "no file name"),
    (f"{BROKER}.files.0.key", "k" * 201, f"{BROKER}.files[0].key", "write a shorter name"),
    (f"{BROKER}.files.0.key", "generation.json", f"{BROKER}.files[0].key", "write another name"),
    (f"{BROKER}.files.0.key", "tls.crt", f"{BROKER}.files[0]", "written twice"),
    (f"{BROKER}.files.1.keystore", "tls.crt", f"{BROKER}.files[1]", "written twice"),
    (f"{BROKER}.files.0.key", ..., f"{BROKER}.files[0].key", "come together"),
    (f"{BROKER}.files.0.certificate", ..., f"{BROKER}.files[0].certificate", "come together"),
    (f"{BROKER}.files", [{"format": "pem", "truststore": "ca.crt"}], f"{BROKER}.files", "hold no private key"),
    (f"{BROKER}.files.0", {"format": "pem"}, f"{BROKER}.files[0]", "names no file"),
    (f"{BROKER}.files.1.keystore", ..., f"{BROKER}.files[1]", "names no file"),
    (f"{BROKER}.files.0.owner", "no-such-user", f"{BROKER}.files[0].owner", "write one that it knows"),
    (f"{BROKER}.files.0.owner", "", f"{BROKER}.files[0].owner", "write one that it knows"),
    (f"{BROKER}.files.0.group", "no-such-group", f"{BROKER}.files[0].group", "write one that it knows"),
    (f"{BROKER}.files.0.mode", "0444", f"{BROKER}.files[0].mode", 'write "0400" or "0440"'),
    (f"{BROKER}.files.1.mode", "0442", f"{BROKER}.files[1].mode", 'write "0400" or "0440"'),
    (f"{BROKER}.files.0.mode", 0o440, f"{BROKER}.files[0].mode", "in quotes"),
    (f"{BROKER}.files.0.mode", "0999", f"{BROKER}.files[0].mode", "write it octal"),
    (f"{BROKER}.files.1.alias", "Kafka", f"{BROKER}.files[1].alias", "lower-case letters"),
    # commands
    (f"{BROKER}.reload", [{"type": "command", "argv": []}], f"{BROKER}.reload[0].argv", "write at least one"),
    (f"{BROKER}.reload", [{"type": "command", "argv": "ls"}], f"{BROKER}.reload[0].argv", "write [one, two]"),
    (f"{BROKER}.reload", [{"type": "command", "argv": ["no-such"]}], f"{BROKER}.reload[0].argv[0]", "write its path"),
    (f"{BROKER}.reload", [{"type": "command", "argv": ["./plain"]}], f"{BROKER}.reload[0].argv[0]", "write its path"),
    (f"{BROKER}.reload", [{"type": "command", "argv": ["./folder"]}], f"{BROKER}.reload[0].argv[0]", "write its path"),
    (f"{BROKER}.reload", [{"type": "command", "argv": [""]}], f"{BROKER}.reload[0].argv[0]", "write its path"),
    (
        f"{BROKER}.reload",
        [{"type": "signal", "argv": ["true"]}],
        f"{BROKER}.reload[0].type",
        "'signal' is not known: write one of command, kafka_broker",
    ),
    (f"{BROKER}.reload", [{"argv": ["true"]}], f"{BROKER}.reload[0].type", "is missing"),
    (f"{BROKER}.reload", ["true"], f"{BROKER}.reload[0]", "write keys below it"),
    # directories
    (f"{BROKER}.directory", "ca", f"{BROKER}.directory", "shares"),
    (f"{BROKER}.directory", "ca/../ca/.", f"{BROKER}.directory", "shares"),
    (f"{BROKER}.directory", "to-ca", f"{BROKER}.directory", "shares"),
    (f"{BROKER}.directory", "ca/ssl", f"{BROKER}.directory", "write one outside of it"),
    ("issuers.local.directory", "ssl/ca", "issuers.local.directory", "in the directory of the identity broker"),
    ("issuers.other", {"type": "local_ca", "directory": "ca"}, "issuers.other.directory", "a directory of its own"),
]


@pytest.mark.parametrize(
    ("path", "value", "key", "advice"), MISTAKES, ids=[f"{path}={str(value)[:40]}" for path, value, _, _ in MISTAKES]
)
def test_mistake_is_told_with_its_key_and_what_to_write(
    host: Host, path: str, value: object, key: str, advice: str
) -> None:
    """One line names the file, the key and the remedy, and no line blames what is right."""
    told = host.mistakes(changed((path, value)))
    if key == BROKER + "[1]":
        told = tuple(one for one in told if one.key == key)  # what is missing beside it is told as well
    assert [(mistake.file, mistake.key) for mistake in told] == [(str(host.file), key)]
    assert advice in told[0].what


def test_settings_that_the_mistakes_start_from_are_good(host: Host) -> None:
    """What the other tests change is right before they change it."""
    assert list(host.load(changed()).identities) == ["broker"]


@pytest.mark.parametrize("mode", ["0400", "440", "0600"])
def test_mode_that_keeps_others_out_is_taken(host: Host, mode: str) -> None:
    """Owner and group may read a key."""
    wanted = host.load(changed((f"{BROKER}.files.0.mode", mode))).identities["broker"]
    assert wanted.files[0].access.mode == int(mode, 8)


def test_truststore_that_everybody_may_change_is_refused(host: Host) -> None:
    """Whoever can add an anchor is trusted; reading it harms nobody."""
    files = [P12, {"format": "pem", "truststore": "ca.crt", "mode": "0444"}]
    host.load(changed((f"{BROKER}.files", files)))
    files = [P12, {"format": "pem", "truststore": "ca.crt", "mode": "0666"}]
    (told,) = host.mistakes(changed((f"{BROKER}.files", files)))
    assert told.key == f"{BROKER}.files[1].mode"
    assert 'write "0444"' in told.what


def test_lifetime_of_ten_seconds_is_taken(host: Host) -> None:
    """The ladder fits its tries into the last three tenths of ten seconds."""
    assert host.load(changed((f"{BROKER}.lifetime", "10s"))).identities["broker"].request.lifetime.seconds == 10


def test_both_ways_to_set_the_renewal_are_one_too_many(host: Host) -> None:
    """A share and a span contradict one another."""
    both = changed((f"{BROKER}.renew_at", 0.5), (f"{BROKER}.renew_before", "5d"))
    (told,) = host.mistakes(both)
    assert told.key == f"{BROKER}.renew_at"
    assert "write one of them" in told.what


def test_two_identities_share_no_directory_by_any_name(host: Host) -> None:
    """Neither the same text nor a link to the same folder gets past it."""
    (host.folder / "ssl").mkdir()
    (host.folder / "alias").symlink_to("ssl")
    for directory in ("ssl", "./x/../ssl", "alias", str(host.folder / "alias")):
        other = changed(("identities.other", {**changed()["identities"]["broker"], "directory": directory}))
        (told,) = host.mistakes(other)
        assert told.key == "identities.other.directory"
        assert "with the identity broker" in told.what
        assert "a directory of its own" in told.what


@pytest.mark.parametrize("inner", ["ssl/client", "ssl/.generations/x", "ssl/tls.key", "ssl/a/../b", "alias/client"])
@pytest.mark.parametrize("inner_first", [True, False])
def test_identity_inside_of_another_is_refused(host: Host, inner: str, inner_first: bool) -> None:
    """It could take a file's name or be cleaned up with the outer one; the order in the file does not matter."""
    (host.folder / "ssl").mkdir()
    (host.folder / "alias").symlink_to("ssl")
    broker = changed()["identities"]["broker"]
    two = {"client": {**broker, "directory": inner}, "outer": broker}
    two = two if inner_first else dict(reversed(two.items()))
    text = json.dumps({**changed(), "identities": two})
    (told,) = host.mistakes(text)
    assert told.key == "identities.client.directory"
    assert told.what == "is in the directory of the identity outer: write one outside of it"


def test_directories_whose_names_begin_alike_are_apart(host: Host) -> None:
    """`ssl-client` is beside `ssl`, and not in it."""
    broker = changed()["identities"]["broker"]
    host.load(changed(("identities.client", {**broker, "directory": "ssl-client"})))


def test_admin_socket_may_be_as_long_as_the_kernel_takes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """107 bytes can be bound and 108 cannot; the path counts as it is in full."""
    path = "/run/" + "x" * 102
    assert str(host.load(changed(("http.admin_socket", path))).http.admin_socket) == path
    monkeypatch.chdir(host.folder)
    with socket.socket(socket.AF_UNIX) as listener:
        with pytest.raises(OSError, match="too long"):
            listener.bind("x" * 108)
        listener.bind("x" * 107)
    (told,) = host.mistakes(changed(("http.admin_socket", "x" * 107)))
    assert f"is {len(str(host.folder)) + 108} bytes in full" in told.what


def test_directory_that_links_to_itself_is_no_crash(host: Host) -> None:
    """A loop of links is for the store to refuse; reading the settings goes on."""
    assert host.load(changed((f"{BROKER}.directory", "loop"))).identities["broker"].directory == host.folder / "loop"


def test_empty_trust_is_fine_where_nothing_holds_anchors(host: Host) -> None:
    """Without a truststore nobody misses its content."""
    values = changed((f"{BROKER}.trust", []), (f"{BROKER}.files", [PEM]))
    assert host.load(values).identities["broker"].trust == ()


def test_listening_to_the_world_needs_names_to_answer_to(host: Host) -> None:
    """With `allowed_hosts` any address will do, and loopback needs none."""
    host.load(changed(("http.listen", "0.0.0.0:9847"), ("http.allowed_hosts", ["kafka1"])))
    for loopback in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        host.load(changed(("http.listen", loopback)))


def test_vault_on_loopback_may_be_plain_http(host: Host) -> None:
    """A token that does not leave the host is in nobody's way."""
    host.load(changed(("issuers.vault.addresses", ["http://127.0.0.1:8200", "http://[::1]:8200"])))


def test_identity_without_any_name_is_told_once(host: Host) -> None:
    """Subject and SANs are both empty, and one line says so."""
    values = changed((f"{BROKER}.subject", ...), (f"{BROKER}.sans", ...))
    (told,) = host.mistakes(values)
    assert told.key == f"{BROKER}.subject"
    assert "write at least one name" in told.what


def test_program_is_found_on_the_path_of_the_environment(host: Host) -> None:
    """A name without a slash is looked for as a shell does."""
    program = host.folder / "tell-the-broker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    values = changed((f"{BROKER}.reload", [{"type": "command", "argv": ["tell-the-broker", "now"]}]))
    (reload,) = host.load(values, {"PATH": str(host.folder)}).identities["broker"].reload
    assert reload == CommandReload(("tell-the-broker", "now"), host.folder)
    (told,) = host.mistakes(values, {"PATH": "/nonexistent"})
    assert told.key == f"{BROKER}.reload[0].argv[0]"


def test_secret_may_come_from_the_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable serves as well as a file, and is read and judged alike."""
    values = changed(
        (f"{BROKER}.files.1.password_file", ...), (f"{BROKER}.files.1.password_environment", "STORE_PASSWORD")
    )
    monkeypatch.delenv("STORE_PASSWORD", raising=False)
    (told,) = host.mistakes(values)
    assert (told.key, "is empty" in told.what) == (f"{BROKER}.files[1].password_environment", True)
    monkeypatch.setenv("STORE_PASSWORD", "short")
    (told,) = host.mistakes(values)
    assert "write 6 or more" in told.what
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    host.load(values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("issuers.vault.auth", TOKEN),
        ("issuers.vault.auth.token_file", {"value": TOKEN}),
        ("issuers.vault.auth.token", TOKEN),
        ("issuers.vault.addresses", f"https://me:{PASSWORD}@vault.example.com"),
        (f"{BROKER}.files", {"format": "pkcs12", "password": PASSWORD}),
        (f"{BROKER}.files", [PASSWORD]),
        (f"{BROKER}.files.1.password", PASSWORD),
        (f"{BROKER}.files.1.password_file", {"value": PASSWORD}),
        (f"{BROKER}.files.1.password_file", [PASSWORD]),
    ],
)
def test_secret_written_in_the_wrong_place_is_not_repeated(host: Host, path: str, value: object) -> None:
    """Who writes the secret itself where its file belongs does not find it in the log."""
    assert host.mistakes(changed((path, value)))
