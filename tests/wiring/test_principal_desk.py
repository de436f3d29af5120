"""`principal`: what a broker makes of names and certificates, as lines and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID

from agent.cli import main
from agent.core.principal import OWN_BUILDER
from agent.keystores import pem
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from pathlib import Path

RULES = "RULE:^CN=(.*?),OU=Brokers.*$/$1/L,RULE:^CN=Duke$/$1/"
CA, KEY = Ca.root(), make_key()
LEAF = CA.leaf(make_request("CN=Kafka1.example.com,OU=Brokers,O=MyOrg"), KEY)


@dataclass
class Desk:
    """The command line, in a folder."""

    folder: Path
    capture: pytest.CaptureFixture[str] = field(repr=False)

    def run(self, *arguments: str, rules: str = RULES) -> tuple[int, str, str]:
        """Run the verb; return exit code, output and errors."""
        try:
            code = main(["principal", "--rules", rules, *arguments])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        captured = self.capture.readouterr()
        return code, captured.out, captured.err

    def put(self, name: str, content: bytes) -> str:
        """Write a file; return its path."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Return the command line in an empty folder."""
    return Desk(tmp_path, capsys)


def test_names_are_told_one_to_a_line(desk: Desk) -> None:
    """A principal, or why there is none; an answer was given either way."""
    code, out, err = desk.run("CN=A,OU=Brokers", "CN=b", "CN=Duke", "CN=c,OU=Brokers,O=x")
    assert out.splitlines() == [
        "CN=A,OU=Brokers -> a",
        "CN=b: No rules apply to CN=b, rules [RULE:^CN=(.*?),OU=Brokers.*$/$1/L, RULE:^CN=Duke$/$1]",
        "CN=Duke: No group 1",
        "CN=c,OU=Brokers,O=x -> c",
    ]
    assert (code, err) == (0, "")


def test_json_tells_the_same(desk: Desk) -> None:
    """A list, in which what there is not is null."""
    code, out, _ = desk.run("CN=É,OU=Brokers", "CN=Duke", "--json")
    assert code == 0
    assert json.loads(out) == [
        {"dn": "CN=É,OU=Brokers", "principal": "é", "error": None},
        {"dn": "CN=Duke", "principal": None, "error": "No group 1"},
    ]


def test_certificates_are_told_by_their_leaf(desk: Desk) -> None:
    """In PEM, with the chain behind it, and in DER; before the names."""
    chain = desk.put("tls.crt", b"text\n" + pem.encode([LEAF, CA.certificate]))
    bare = desk.put("tls.der", CA.certificate.der)
    code, out, _ = desk.run("CN=A,OU=Brokers", "--certificate", chain, "--certificate", bare, rules=f"{RULES},DEFAULT")
    assert code == 0
    assert out.splitlines() == [
        "CN=Kafka1.example.com,OU=Brokers,O=MyOrg -> kafka1.example.com",
        "CN=Test Root,O=MyOrg -> CN=Test Root,O=MyOrg",
        "CN=A,OU=Brokers -> a",
    ]


def test_rules_that_kafka_refuses_are_a_usage_error(desk: Desk) -> None:
    """In its own words, on standard error."""
    code, out, err = desk.run("CN=a", rules="DEFAULT,RULE:a/b/x")
    assert (code, out) == (2, "")
    assert err == "cert-agent: Invalid rule: `RULE:a/b/x`, unmatched substring: `x`\n"
    code, out, err = desk.run("CN=a", "--json", rules="RULE:(/x/")
    assert (code, out) == (2, "")
    assert err == "cert-agent: Java does not take the pattern of RULE:(/x: Unclosed group\n"


def test_no_rules_turn_everyone_away(desk: Desk) -> None:
    """Which is what an empty configuration is, unlike none."""
    assert desk.run("CN=a", rules="") == (0, "CN=a: No rules apply to CN=a, rules []\n", "")


def test_nothing_to_map_is_a_usage_error(desk: Desk) -> None:
    """So are no rules at all; an empty name is one, that of a certificate without a subject."""
    code, _, err = desk.run()
    assert code == 2
    assert "name a DN or a --certificate" in err
    assert desk.run("", rules="DEFAULT") == (0, " -> \n", "")
    with pytest.raises(SystemExit) as stopped:
        main(["principal", "CN=a"])
    assert stopped.value.code == 2


def test_what_is_beyond_preview_is_said(desk: Desk) -> None:
    """Where it is met, and beside the answers, for Java may refuse such a pattern."""
    code, out, err = desk.run("CN=a", "CN=b", rules=r"RULE:CN=a/x/,RULE:\p{L}*/y/")
    assert code == 0
    assert out.splitlines() == ["CN=a -> x", r"CN=b: cannot preview: the pattern of RULE:\p{L}*/y has \p"]
    assert err == "cert-agent: the pattern of RULE:\\p{L}*/y has \\p, and Java may not even take it\n"


def test_custom_builder_is_beyond_preview(desk: Desk) -> None:
    """It heeds no rules; Kafka's own one, named in full, does."""
    leaf = desk.put("tls.crt", pem.encode([LEAF]))
    code, out, err = desk.run(
        "CN=a", "--certificate", leaf, "--builder", "com.example.Mine", "--json", rules=r"RULE:\h/x/"
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert [one["dn"] for one in told] == ["CN=Kafka1.example.com,OU=Brokers,O=MyOrg", "CN=a"]
    assert all(
        one["principal"] is None and "com.example.Mine (principal.builder.class)" in one["error"] for one in told
    )
    assert desk.run("CN=A,OU=Brokers", "--builder", OWN_BUILDER)[1] == "CN=A,OU=Brokers -> a\n"


def test_name_that_java_releases_print_differently_is_said(desk: Desk) -> None:
    """What the newer ones print, and no principal."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ab", StringType.BMPString)])
    file = desk.put("old.der", certificate(name).public_bytes(Encoding.DER))
    _, out, _ = desk.run("--certificate", file, rules="DEFAULT")
    assert out.startswith("CN=ab: Java 17 prints the name otherwise")


def certificate(subject: x509.Name) -> x509.Certificate:
    """Make a certificate that signs itself."""
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), 1, NOW, NOW)
    return builder.sign(KEY, hashes.SHA256())


def test_lines_stay_whole_whatever_the_name_holds(desk: Desk) -> None:
    """A terminal is not at the mercy of a subject."""
    _, out, _ = desk.run("CN=a\n\x1b[31m\udcff", rules="DEFAULT")
    assert out == "CN=a\\n\\x1b[31m\\udcff -> CN=a\\n\\x1b[31m\\udcff\n"
    _, out, _ = desk.run("CN=a\n\udcff", "--json", rules="DEFAULT")
    assert json.loads(out)[0]["principal"] == "CN=a\n\udcff"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no "),
        (b"", "not a certificate that can be read"),
        (b"-----BEGIN PRIVATE KEY-----\n", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1"),
        (b"\x30\x03\x02\x01\x03", "not a certificate that can be read"),
    ],
)
def test_file_that_is_no_certificate_is_said(desk: Desk, content: bytes | None, words: str) -> None:
    """With what to name instead; nothing is mapped."""
    file = str(desk.folder / "tls.crt") if content is None else desk.put("tls.crt", content)
    code, out, err = desk.run("CN=a", "--certificate", file)
    assert (code, out) == (1, "")
    assert words in err
    assert "tls.crt" in err
    assert err.endswith("name a certificate, in PEM or DER\n")


def test_folder_is_no_certificate(desk: Desk) -> None:
    """And is not read for ever."""
    code, _, err = desk.run("--certificate", str(desk.folder))
    assert code == 1
    assert str(desk.folder) in err
