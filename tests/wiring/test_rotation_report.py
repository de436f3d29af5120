"""A CA rotation in words for a person, and the commands that answer what it waits for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agent.cli import _parser
from agent.core.evidence import Verdict
from agent.core.guards import Allowed, Case, Standing, retirement_is_allowed
from agent.core.rotation import Stage
from agent.core.status import AnchorStatus, AwaitedStatus, PeerStatus
from agent.core.testimony import Peers
from agent.web.status_json import status_document
from agent.wiring.client import in_words
from agent.wiring.rotation_report import rotation_in_a_line, rotation_in_words
from tests.material import NOW, Ca
from tests.web.statuses import NEW, OLD, make_identity, make_rotation, make_status

WAITS = "orders-1: trusts CN=New CA: unknown (nobody here can look at it)"


def identity(name: str = "broker", **changes: Any) -> dict[str, Any]:
    """Return an identity of the status document with a rotation that is changed."""
    status = make_status(make_identity(name, rotation=make_rotation(**changes)))
    told: dict[str, Any] = status_document(status)["identities"][0]
    return told


def words(name: str = "broker", **changes: Any) -> list[str]:
    """Return a rotation in words."""
    return rotation_in_words(identity(name, **changes), "2026-11-24T12:00:00Z")


def test_everything_of_a_rotation_is_told() -> None:
    """Where it stands and why, each anchor, each peer, and what to say for those that are waited for."""
    old, new = OLD.certificate, NEW.certificate
    ends = "2036-11-21T12:00:00Z"
    assert words(opens_at=NOW + timedelta(hours=6), aborted="bob, yesterday") == [
        "broker: anchor added, since 2026-11-22T12:00:00Z",
        "  why: the next leaf is of CN=New CA; held: orders-1 is not shown to trust CN=New CA",
        "  leaf of: CN=Old CA",
        "  next of: CN=New CA",
        "  paused: alice, 2026-11-24 11:00:00Z; goes on with: cert-agent ca resume broker --by NAME",
        "  goes back: bob, yesterday; ends after the pause with: cert-agent ca resume broker --by NAME",
        "  waits for its window, which opens at 2026-11-24T18:00:00Z",
        "  anchors:",
        f"    {old.fingerprint[:16]}  CN=Old CA, ends {ends}: trusted, seen in vault",
        f"    {new.fingerprint[:16]}  CN=New CA, ends {ends}: waiting, seen in vault, /etc/kafka/ca.d",
        f"      enters with: cert-agent ca approve {new.fingerprint} --by NAME",
        "  peers:",
        "    kafka2.example.com:9093, just now: trusts CN=New CA: proven",
        "    orders-1, 3h 0m ago: trusts CN=New CA: unknown (nobody here can look at it)",
        "  awaited:",
        f"    {WAITS}; if you know: cert-agent ca confirm orders-1 --by NAME",
    ]


def test_a_rotation_at_rest_is_short() -> None:
    """What there is none of has no line."""
    rest: dict[str, Any] = {
        "stage": Stage.STEADY,
        "why": "",
        "since": None,
        "leaf_ca": "",
        "target_ca": "",
        "paused": "",
    }
    assert words(**rest, anchors=(), peers=(), awaits=(), opens_at=None) == [
        "broker: steady",
        "  leaf of: no CA yet",
        "  next of: a CA that is not known before it comes",
    ]
    told = status_document(make_status(make_identity(rotation=None)))["identities"][0]
    assert rotation_in_words(told, "2026-11-24T12:00:00Z") == ["broker: no CA rotation is known of; nothing is due"]


def test_an_anchor_that_only_waits_for_a_word_is_told_with_the_command() -> None:
    """By the reason that the guard itself gives; while another guard holds it a word would not help."""
    case = Case("ca", Standing("leaf", names={"ca": "CN=Old CA"}), Peers(), Allowed(), NOW)
    hold = retirement_is_allowed(case)
    assert hold is not None
    command = f"      leaves with: cert-agent ca retire {OLD.certificate.fingerprint} --by NAME"
    held = AnchorStatus(OLD.certificate, "leaving", (), str(hold))
    assert command in words(anchors=(held,))
    soaks = AnchorStatus(OLD.certificate, "leaving", (), "it soaks until 2026-11-25 12:00:00Z")
    told = words(anchors=(soaks,))
    assert command not in told
    assert "      held: it soaks until 2026-11-25 12:00:00Z" in told


def test_no_word_is_asked_for_against_evidence() -> None:
    """A peer that is shown to answer no is to be seen to."""
    refuses = AwaitedStatus("orders-1", "trusts CN=New CA", Verdict.REFUTED, "it has refused a leaf")
    assert words(awaits=(refuses,))[-1] == (
        "    orders-1: trusts CN=New CA: refuted (it has refused a leaf); it is shown to be otherwise, which nobody's"
        " word changes: see to it there"
    )


def test_a_word_is_asked_for_by_the_question_and_not_by_what_else_the_peer_is_shown_to_do() -> None:
    """It uses the old leaf still, which is seen; whether it trusts the new CA is what is waited for, and unknown."""
    uses = PeerStatus("orders-1", NOW, {"trusts CN=New CA": Verdict.UNKNOWN, "has left CN=Old CA": Verdict.REFUTED})
    unknown = AwaitedStatus("orders-1", "trusts CN=New CA", Verdict.UNKNOWN)
    assert words(peers=(uses,), awaits=(unknown,))[-1] == (
        "    orders-1: trusts CN=New CA: unknown; if you know: cert-agent ca confirm orders-1 --by NAME"
    )
    both = words(awaits=(AwaitedStatus("orders-1", "has left CN=Old CA", Verdict.REFUTED), unknown))
    assert ["ca confirm" in line for line in both[-2:]] == [False, True]


def test_the_identity_itself_stands_for_its_own_readers() -> None:
    """Where nothing shows that they use the new files, a person may know."""
    assert words(awaits=(AwaitedStatus("broker", "trusts CN=New CA", Verdict.UNKNOWN),))[-1] == (
        "    broker (the readers here, of the new files): trusts CN=New CA: unknown; if you know: cert-agent ca confirm"
        " broker --by NAME"
    )


@pytest.mark.parametrize(
    ("span", "age"),
    [
        (timedelta(0), "just now"),
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "59s ago"),
        (timedelta(minutes=5, seconds=2), "5m 2s ago"),
        (timedelta(days=2, hours=3, minutes=4), "2d 3h ago"),
    ],
)
def test_the_age_of_evidence_is_told(span: timedelta, age: str) -> None:
    """In its two largest units; the clocks of two hosts may differ a little."""
    (line,) = [one for one in words(peers=(PeerStatus("p", NOW - span, {}),)) if one.startswith("    p,")]
    assert line == f"    p, {age}: nothing is asked"


def test_a_name_of_a_ca_commands_no_terminal_and_no_shell() -> None:
    """Whoever makes a CA chooses its name, and a person is about to decide by what stands there."""
    evil = Ca.root("CN=a\\0a\\1b[2Jbroker: steady").certificate
    asked = AwaitedStatus("x; rm -rf /", "trusts CN=a\x1bb", Verdict.UNKNOWN)
    told = words("my broker", anchors=(AnchorStatus(evil, "waiting", ("a\x1bb",)),), peers=(), awaits=(asked,))
    assert all(line.isprintable() for line in told)
    assert sum(line.startswith("my broker: ") for line in told) == 1
    assert told[-1] == (
        "    x; rm -rf /: trusts CN=a\\x1bb: unknown; if you know: cert-agent ca confirm 'x; rm -rf /' --by NAME"
    )
    assert any("ca resume 'my broker'" in line for line in told)


def test_every_command_that_is_told_is_one_that_the_command_line_takes() -> None:
    """Copied with a name in place of NAME."""
    held = AnchorStatus(OLD.certificate, "leaving", (), "`cert-agent ca retire` lets it go")
    told = words(anchors=(held, AnchorStatus(NEW.certificate, "waiting")), aborted="bob")
    commands = [line.partition("cert-agent ")[2] for line in told if "--by NAME" in line]
    parsed = [_parser().parse_args(command.replace("NAME", "alice").split()) for command in commands]
    assert {(one.word, one.by) for one in parsed} == {
        ("approve", "alice"),
        ("retire", "alice"),
        ("confirm", "alice"),
        ("resume", "alice"),
    }


def test_the_status_of_an_identity_tells_of_a_rotation_under_way() -> None:
    """In one line, and none while all is steady or nothing is known."""
    line = (
        "  CA rotation: anchor added: the next leaf is of CN=New CA; held: orders-1 is not shown to trust CN=New CA;"
        " see `cert-agent ca status broker`"
    )
    assert rotation_in_a_line(identity()) == [line]
    assert line in in_words(identity())
    told = identity() | {"sentence": f"ask the peers now: {identity()['rotation']['why']}"}
    assert rotation_in_a_line(told) == ["  CA rotation: anchor added; see `cert-agent ca status broker`"]
    for steady in (identity(stage=Stage.STEADY), identity() | {"rotation": None}):
        assert rotation_in_a_line(steady) == []
        assert not any("rotation" in one for one in in_words(steady))
