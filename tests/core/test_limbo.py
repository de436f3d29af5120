"""The chains of x509-limbo: our verdict, and the reason wherever it is another than the one expected."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path as FilePath
from typing import Any

import pytest

from agent.core.certificate import Certificate
from agent.core.chain import NoPath, Path, find_path
from agent.core.identity import Usage
from agent.errors import MaterialError

DATA = FilePath(__file__).parent.parent / "data" / "limbo-part.json.gz"

NO_MATTER_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
"""For the cases that name no moment: theirs last for a millennium."""

REVOCATION = "no revocation list is asked for: short lives replace it, and no such list reaches the agent"
NAMES = "names are compared with the request before the switch (core/identity), not with a peer's name in the chain"
LETTER = "the letter of RFC 5280 for CAs, which Java and OpenSSL do not insist on and private CAs break"
WEB = "a rule of the CA/Browser Forum for the public web, not of private PKI"
UNSIGNED = "its key usage lacks digital signature: TLS 1.3 and ECDHE need it, and Java refuses the certificate without"
LEAF = "a leaf that may sign is refused by the proof (core/proof, no CA), not by its chain"

DEVIATIONS = {
    "crl::revoked-certificate-with-crl": REVOCATION,
    "crl::crlnumber-missing": REVOCATION,
    "crl::crlnumber-critical": REVOCATION,
    "pathlen::max-chain-depth-0-exhausted": "the depth is bounded by ours (LONGEST_PATH), no setting of a caller",
    "pathlen::validation-ignores-pathlen-in-leaf": UNSIGNED,
    "rfc5280::aki::intermediate-missing-aki": LETTER,
    "rfc5280::aki::cross-signed-root-missing-aki": LETTER,
    "rfc5280::ski::root-missing-ski": LETTER,
    "rfc5280::ski::intermediate-missing-ski": LETTER,
    "rfc5280::pc::ica-noncritical-pc": LETTER,
    "rfc5280::serial::too-long": LETTER,
    "rfc5280::serial::zero": LETTER,
    "rfc5280::ca-empty-subject": LETTER,
    "rfc5280::san::underscore-dns": "host names with an underscore exist in private networks; the settings allow them",
    "rfc5280::san::ip-in-dns": NAMES,
    "rfc5280::leaf-ku-keycertsign": LEAF,
    "webpki::aki::root-with-aki-all-fields": WEB,
    "webpki::cn::ipv6-uppercase-mismatch": WEB,
    "webpki::cn::punycode-not-in-san": WEB,
    "webpki::cn::not-in-san": WEB,
    "webpki::cn::case-mismatch": WEB,
    "webpki::eku::ee-anyeku": WEB,
    "webpki::eku::ee-critical-eku": WEB,
    "webpki::eku::root-has-eku": WEB,
    "webpki::san::mismatch-subdomain-san": NAMES,
    "webpki::san::mismatch-subdomain-apex-san": NAMES,
    "webpki::san::mismatch-apex-subdomain-san": NAMES,
    "webpki::san::wildcard-match-across-labels-san": NAMES,
    "webpki::san::wildcard-embedded-ulabel-san": NAMES,
    "webpki::san::no-san": "a CN without a SAN is what many a Kafka guide makes; Java and OpenSSL take it",
    "webpki::san::san-wildcard-only-tld": NAMES,
    "webpki::forbidden-rsa-key-not-divisible-by-8-in-leaf": WEB,
    "webpki::v1-cert": "leaves of X.509 v1 are what many a Kafka guide makes; Java and OpenSSL take them",
    "webpki::ee-basicconstraints-ca": LEAF,
}
"""Every case where our verdict is another than the expected one, and why."""


@dataclass(frozen=True)
class Case:
    """One case of the suite."""

    name: str
    leaf: str
    intermediates: tuple[str, ...]
    anchors: tuple[str, ...]
    at: datetime
    usage: Usage
    succeeds: bool

    def verdict(self) -> Path | NoPath:
        """Return what we say; what cannot even be read has no path."""
        try:
            return find_path(
                _certificate(self.leaf),
                [_certificate(text) for text in self.intermediates],
                [_certificate(text) for text in self.anchors],
                self.at,
                frozenset({self.usage}),
            )
        except MaterialError as error:
            return NoPath(error.what)


@cache
def cases() -> dict[str, Case]:
    """Return all cases by name."""
    with gzip.open(DATA) as stream:
        values: list[dict[str, Any]] = json.load(stream)["testcases"]
    return {
        value["id"]: Case(
            name=value["id"],
            leaf=value["peer_certificate"],
            intermediates=tuple(value["untrusted_intermediates"]),
            anchors=tuple(value["trusted_certs"]),
            at=datetime.fromisoformat(value["validation_time"]) if value["validation_time"] else NO_MATTER_WHEN,
            usage=Usage.SERVER if value["validation_kind"] == "SERVER" else Usage.CLIENT,
            succeeds=value["expected_result"] == "SUCCESS",
        )
        for value in values
    }


def _certificate(text: str) -> Certificate:
    body = "".join(line for line in text.splitlines() if line and not line.startswith("-----"))
    return Certificate.from_der(base64.b64decode(body))


@pytest.mark.parametrize("name", sorted(cases()))
def test_a_case_has_the_expected_verdict_or_a_reason(name: str) -> None:
    """Each chain is judged as expected, unless a deviation is listed; a listed one must really deviate."""
    case = cases()[name]
    verdict = case.verdict()
    deviates = isinstance(verdict, Path) != case.succeeds
    assert deviates == (name in DEVIATIONS), getattr(verdict, "reason", "a path was found")


def test_no_chain_that_is_good_is_refused() -> None:
    """All deviations are chains that we take and the web would not, but for a leaf that no Java takes in TLS."""
    assert {name for name, why in DEVIATIONS.items() if cases()[name].succeeds} == {
        name for name, why in DEVIATIONS.items() if why is UNSIGNED
    }


def test_every_refusal_says_why() -> None:
    """A refusal names what is wrong, in one line."""
    for case in cases().values():
        verdict = case.verdict()
        if isinstance(verdict, NoPath):
            assert verdict.reason
            assert "\n" not in verdict.reason
