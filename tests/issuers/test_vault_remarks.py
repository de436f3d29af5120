"""What is remarked on where a CA gave something else than it was asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.issuer_spec import Signing, TokenLogin
from agent.core.secret import Secret
from agent.issuers.vault.certificates import Signed
from agent.issuers.vault.remarks import remarks
from tests.issuers.vault_clients import spec
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.identity import Request

KEY = make_key()
ROOT = Ca.root()
MONTH = timedelta(days=30)


def told(
    asked: Request, got: str | None = None, *, lives: timedelta = MONTH, warnings: tuple[str, ...] = (), **changes: Any
) -> tuple[str, ...]:
    """Return the remarks on a leaf of that subject and life."""
    leaf = ROOT.leaf(
        make_request(got) if got is not None else asked,
        KEY,
        not_before=NOW - timedelta(seconds=30),
        not_after=NOW + lives,
    )
    of = spec(TokenLogin(Secret(environment="T")), "http://127.0.0.1:1", **changes)
    return remarks(of, asked, Signed((leaf, ROOT.certificate), warnings), NOW)


def test_leaf_as_asked_is_not_remarked_on() -> None:
    """Nor are seconds of delay, nor warnings that say nothing new."""
    usual = (
        'the common_name field was provided but the role is set with "use_csr_common_name" set to true',
        "This mount hasn't configured any authority information access (AIA) fields; consider",
    )
    assert told(make_request(), warnings=usual) == ()
    assert told(make_request(), lives=MONTH - timedelta(seconds=90)) == ()


def test_shortened_life_is_told_with_vaults_words_and_what_to_do() -> None:
    """One remark, the same whether the answer took one second or five."""
    said = 'TTL "720h0m0s" is longer than permitted maxTTL "72h0m0s", so maxTTL is being used'
    found = {told(make_request(), lives=timedelta(hours=72, seconds=-delay), warnings=(said,)) for delay in (0, 1, 5)}
    ways = "raise max_ttl of pki/roles/kafka, or ask for a shorter `lifetime`"
    assert found == {(f"the leaf lives 3 d, not 30 d as asked for ({said}); {ways}",)}
    assert "max_lease_ttl of pki" in told(make_request(), lives=timedelta(hours=1), role="")[0]


def test_life_that_was_shortened_without_a_word_is_told() -> None:
    """It is reckoned, not only heard; one that ends with its CA says so."""
    assert told(make_request(), lives=timedelta(hours=36))[0].startswith("the leaf lives 36 h, not 30 d")
    assert told(make_request(), lives=timedelta(minutes=90))[0].startswith("the leaf lives 90 min, not 30 d")
    asked = make_request(lifetime=timedelta(days=8000))
    (remark,) = told(asked, lives=ROOT.certificate.not_after - NOW)
    assert "it ends with its CA" in remark


@pytest.mark.parametrize(
    ("got", "changed"),
    [
        ("CN=kafka1.example.com,O=MyOrg", "Vault dropped OU=Brokers, which"),
        ("CN=kafka1.example.com", "Vault dropped O=MyOrg, dropped OU=Brokers, which"),
        ("CN=kafka1.example.com,OU=Other,O=MyOrg", "Vault put OU=Other for OU=Brokers, which"),
        ("CN=kafka1.example.com,OU=Brokers,O=MyOrg,C=DE", "Vault added C=DE, which"),
        ("O=MyOrg,OU=Brokers,CN=kafka1.example.com", "Vault put the subject's attributes in another order"),
    ],
)
def test_changed_subject_is_told_as_a_change_of_the_principal(got: str, changed: str) -> None:
    """Each attribute by name, and the ways to have it right."""
    (remark,) = told(make_request(), got)
    assert changed in remark
    assert "the principal that Kafka's ACLs see" in remark
    assert remark.endswith("sign with `sign: verbatim` or change the identity's `subject`")


def test_role_fields_that_make_the_subject_right_are_named() -> None:
    """Those of the attributes that differ; where the CSR has the last word the role has none."""
    (remark,) = told(make_request(), "CN=kafka1.example.com")
    assert "set organization and ou of pki/roles/kafka" in remark
    (remark,) = told(make_request(), "CN=kafka1.example.com", signing=Signing.VERBATIM)
    assert "roles" not in remark
    assert remark.endswith("see: change the identity's `subject`")


def test_remarks_are_few() -> None:
    """A server that warns without end is cut short, and says nothing twice."""
    assert len(told(make_request(), warnings=tuple(f"warning {number}" for number in range(100)))) == 5
    assert told(make_request(), warnings=("a", "a")) == ("a",)
