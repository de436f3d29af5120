"""What librdkafka is told for a login: in memory, without a file that holds a key, and nothing that is not meant."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.credentials import Credentials
from agent.core.identity import Usage
from agent.core.kafka_spec import Cluster, LoginFiles, SaslLogin, SecurityProtocol
from agent.core.secret import Secret
from agent.errors import MaterialError
from agent.kafka.login import LARGEST_FILE, principal_of, secrets_of, settings
from agent.keystores import pem, private_key
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOT = Ca.root()
MIDDLE = ROOT.intermediate()
KEY = make_key()
LEAF = MIDDLE.leaf(make_request(), KEY)
SERVER_ONLY = MIDDLE.leaf(make_request(usages=frozenset({Usage.SERVER})), KEY)
ANY_USE = MIDDLE.leaf(make_request(usages=frozenset()), KEY)
OURS = Credentials(private_key.to_der(KEY), (LEAF, MIDDLE.certificate), (ROOT.certificate,))
CHAIN = pem.encode(OURS.chain).decode()
PASSWORD = "not-to-be-told-0815"  # noqa: S105 - made up, and looked for in every message


def cluster(**changes: Any) -> Cluster:
    """Return the settings of a cluster."""
    return Cluster("prod", ("kafka1.example.com:9093", "[2001:db8::1]:9093"), **changes)


@pytest.fixture(name="files")
def files_of_a_login(tmp_path: Path) -> LoginFiles:
    """Write a certificate and its key."""
    found = LoginFiles(tmp_path / "agent.crt", tmp_path / "agent.key")
    found.certificate.write_bytes(pem.encode(OURS.chain))
    found.key.write_bytes(private_key.to_pem(KEY))
    return found


@pytest.fixture(name="password")
def password_of_a_login(tmp_path: Path) -> Secret:
    """Write a password."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    return Secret(file=tmp_path / "password")


def test_login_shows_the_credentials_and_trusts_their_anchors() -> None:
    """Chain, key and anchors are handed over as text; no setting names a file."""
    found = settings(cluster(), OURS)
    assert found["bootstrap.servers"] == "kafka1.example.com:9093,[2001:db8::1]:9093"
    assert found["security.protocol"] == "SSL"
    assert found["ssl.certificate.pem"] == CHAIN
    assert found["ssl.key.pem"] == private_key.to_pem(KEY).decode()
    assert found["ssl.ca.pem"] == pem.encode(OURS.anchors).decode()
    assert found["ssl.endpoint.identification.algorithm"] == "https"
    assert found["client.id"] == "cert-agent"
    assert found["enable.metrics.push"] is False
    assert not [key for key in found if "location" in key or "debug" in key]


@pytest.mark.parametrize(
    ("within", "request_ms", "connect_ms"), [(10, 10_000, 5000), (2, 2000, 2000), (0.1, 1000, 1000)]
)
def test_login_has_the_deadline_of_the_cluster(within: float, request_ms: int, connect_ms: int) -> None:
    """A connection has a part of it; librdkafka takes no less than a second."""
    found = settings(cluster(within=timedelta(seconds=within)), OURS)
    assert found["socket.timeout.ms"] == found["api.version.request.timeout.ms"] == request_ms
    assert found["socket.connection.setup.timeout.ms"] == connect_ms


def test_name_is_verified_unless_the_settings_say_otherwise() -> None:
    """The certificate itself is verified all the same."""
    found = settings(cluster(verify_host_name=False), OURS)
    assert found["ssl.endpoint.identification.algorithm"] == "none"
    assert "enable.ssl.certificate.verification" not in found


def test_files_of_the_cluster_go_before_the_credentials(tmp_path: Path, files: LoginFiles) -> None:
    """A certificate that is the agent's own is shown in place of the broker's, and its CAs are trusted."""
    other = Ca.root("CN=Other")
    (tmp_path / "ca.pem").write_bytes(pem.encode([other.certificate, ROOT.certificate]))
    found = settings(cluster(files=files, ca_file=tmp_path / "ca.pem"), Credentials(b"", (SERVER_ONLY,)))
    assert found["ssl.certificate.pem"] == CHAIN
    assert found["ssl.key.pem"] == private_key.to_pem(KEY).decode()
    assert found["ssl.ca.pem"] == pem.encode([other.certificate, ROOT.certificate]).decode()


def test_login_without_a_certificate_shows_none(tmp_path: Path) -> None:
    """A listener that asks for none is content."""
    (tmp_path / "ca.pem").write_bytes(pem.encode([ROOT.certificate]))
    found = settings(cluster(ca_file=tmp_path / "ca.pem"), None)
    assert not {"ssl.certificate.pem", "ssl.key.pem"} & set(found)
    assert secrets_of(found) == ()
    assert principal_of(cluster(), found) == "ANONYMOUS"


@pytest.mark.parametrize("credentials", [None, Credentials(b"", (LEAF,))])
def test_login_without_a_ca_is_refused(credentials: Credentials | None) -> None:
    """Otherwise every CA of the system could vouch for a broker."""
    with pytest.raises(MaterialError, match="no CA is known that could vouch for the brokers of prod"):
        settings(cluster(), credentials)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_login_by_password_reads_it_each_time(mechanism: str, password: Secret) -> None:
    """A password that was changed is the one that is used next."""
    login = cluster(protocol=SecurityProtocol.SASL_SSL, sasl=SaslLogin(mechanism, "alice", password))
    found = settings(login, OURS)
    assert (found["security.protocol"], found["sasl.mechanism"], found["sasl.username"]) == (
        "SASL_SSL",
        mechanism,
        "alice",
    )
    assert found["sasl.password"] == PASSWORD
    assert principal_of(login, found) == "alice"
    assert set(secrets_of(found)) == {PASSWORD, found["ssl.key.pem"]}
    assert password.file is not None
    password.file.write_text("another")
    assert settings(login, OURS)["sasl.password"] == "another"


@pytest.mark.parametrize(("leaf", "shown"), [(LEAF, True), (ANY_USE, True), (SERVER_ONLY, False)])
def test_login_by_password_shows_no_certificate_of_a_server(leaf: Any, shown: bool, password: Secret) -> None:
    """A listener that may ask for one would refuse a certificate that is no client's, and the password with it."""
    login = cluster(protocol=SecurityProtocol.SASL_SSL, sasl=SaslLogin("PLAIN", "alice", password))
    credentials = Credentials(OURS.key, (leaf,), OURS.anchors)
    assert ("ssl.key.pem" in settings(login, credentials)) is shown
    assert "ssl.key.pem" in settings(cluster(), credentials)


def test_login_without_tls_holds_nothing_of_it(password: Secret) -> None:
    """No certificate is shown where nobody asks for one."""
    login = SaslLogin("SCRAM-SHA-256", "alice", password)
    for found in (
        settings(cluster(protocol=SecurityProtocol.PLAINTEXT), OURS),
        settings(cluster(protocol=SecurityProtocol.SASL_PLAINTEXT, sasl=login), OURS),
    ):
        assert not [key for key in found if key.startswith("ssl.")]


def test_principal_is_the_name_as_java_prints_it() -> None:
    """The last attribute comes first."""
    assert principal_of(cluster(), settings(cluster(), OURS)) == "CN=kafka1.example.com,OU=Brokers,O=MyOrg"


def _gone(files: LoginFiles) -> str:
    files.key.unlink()
    return f"cannot read {files.key}: No such file or directory"


def _folder(files: LoginFiles) -> str:
    files.certificate.unlink()
    files.certificate.mkdir()
    return f"cannot read {files.certificate}: Is a directory"


def _large(files: LoginFiles) -> str:
    files.certificate.write_bytes(b"x" * (LARGEST_FILE + 1))
    return f"{files.certificate} is larger than 1048576 bytes"


def _no_certificate(files: LoginFiles) -> str:
    files.certificate.write_text("nothing")
    return f"{files.certificate} holds no certificate in PEM"


def _cut_short(files: LoginFiles) -> str:
    files.certificate.write_text(CHAIN[:200])
    return f"{files.certificate}: a certificate block is cut short or holds what is no base64"


def _no_key(files: LoginFiles) -> str:
    files.key.write_text(PASSWORD)
    return f"{files.key}: it holds no private key in PEM, as PKCS#8, PKCS#1 or SEC 1"


def _locked(files: LoginFiles) -> str:
    files.key.write_bytes(private_key.to_pem(KEY, PASSWORD))
    return f"{files.key}: this is no private key in PEM that can be read without a password"


def _stranger(files: LoginFiles) -> str:
    files.key.write_bytes(private_key.to_pem(make_key()))
    return f"{files.key} is not the key of the first certificate in {files.certificate}"


@pytest.mark.parametrize("spoil", [_gone, _folder, _large, _no_certificate, _cut_short, _no_key, _locked, _stranger])
def test_files_that_cannot_be_used_are_told(files: LoginFiles, spoil: Callable[[LoginFiles], str]) -> None:
    """The sentence names the file, and nothing of what is in it; there is always something to do."""
    what = spoil(files)
    with pytest.raises(MaterialError) as caught:
        settings(cluster(files=files), OURS)
    assert caught.value.what == what
    assert PASSWORD not in caught.value.diagnosis()
    assert caught.value.advice or spoil is _cut_short


def test_pair_that_is_being_renewed_is_read_again(files: LoginFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the certificate and its key another may have written both anew."""
    key = make_key()
    leaf = MIDDLE.leaf(make_request(), key)
    read, reads = private_key.from_pem, []

    def renewed_meanwhile(content: bytes) -> Any:
        reads.append(content)
        if len(reads) == 1:
            files.certificate.write_bytes(pem.encode([leaf]))
            files.key.write_bytes(private_key.to_pem(key))
            return key
        return read(content)

    monkeypatch.setattr(private_key, "from_pem", renewed_meanwhile)
    assert settings(cluster(files=files), OURS)["ssl.certificate.pem"] == pem.encode([leaf]).decode()
    assert len(reads) == 2


def test_password_that_is_missing_is_told_by_its_place(tmp_path: Path) -> None:
    """The place is named, as of every secret."""
    login = SaslLogin("PLAIN", "alice", Secret(file=tmp_path / "gone"))
    with pytest.raises(MaterialError, match=r"cannot read .*gone: No such file"):
        settings(cluster(protocol=SecurityProtocol.SASL_SSL, sasl=login), OURS)
