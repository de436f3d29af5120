"""What probes are told of the agent."""

from __future__ import annotations

from agent.core.status import Health
from agent.web.health import health, live, ready
from tests.web.statuses import make_identity, make_status, not_ready


def test_live_is_the_turning_of_the_loop_alone() -> None:
    """An identity that has failed does not make the agent dead: a restart would not mend it."""
    assert live(make_status(not_ready("broker", "expired"))) == (True, "ok\n")
    assert live(make_status(turning=False))[0] is False


def test_ready_names_who_is_not() -> None:
    """Without `verbose` the answer names the identities, and where to look for the reason."""
    status = make_status(make_identity("broker"), not_ready("client", "the leaf expired"))
    well, text = ready(status, verbose=False)
    assert not well
    assert text.splitlines()[0] == "not ready: client"
    assert "/readyz?verbose" in text


def test_ready_needs_the_loop() -> None:
    """What a loop that hangs once said of its identities counts no longer."""
    well, text = ready(make_status(make_identity(), turning=False), verbose=False)
    assert (well, text.splitlines()[0]) == (False, "not ready: the loop")
    assert "[-]loop failed" in ready(make_status(turning=False), verbose=True)[1]


def test_ready_verbose_has_a_line_an_identity_with_every_reason() -> None:
    """As Kubernetes writes it: plus and minus, the name, why, and what came of it all."""
    status = make_status(make_identity("broker"), not_ready("client", "the leaf expired", "the key is lost"))
    assert ready(status, verbose=True) == (
        False,
        "[+]loop ok\n[+]broker ok\n[-]client failed: the leaf expired; the key is lost\nreadyz check failed\n",
    )
    assert ready(make_status(make_identity("broker")), verbose=True) == (
        True,
        "[+]loop ok\n[+]broker ok\nreadyz check passed\n",
    )


def test_ready_verbose_keeps_a_reason_on_its_line() -> None:
    """A reason with a line end in it cannot pose as another identity's line."""
    _, text = ready(make_status(not_ready("client", "x\n[+]broker ok")), verbose=True)
    assert "\n[+]broker ok\n" not in text


def test_health_passes_with_a_warning() -> None:
    """`warn` is well enough to serve, and says what a person should look at."""
    status = make_status(make_identity(health=Health.WARN, concerns=("issuing failed 3 times in a row",)))
    well, document = health(status)
    check = document["checks"]["broker:lifetime"][0]
    assert well
    assert document["status"] == "warn"
    assert check["status"] == "warn"
    assert check["output"] == "issuing failed 3 times in a row"


def test_health_fails_with_the_worst_identity() -> None:
    """One that fails fails the whole; its lifetime is told in seconds, its neighbour's check stays a pass."""
    well, document = health(make_status(make_identity("broker"), not_ready("client", "expired")))
    checks = document["checks"]
    assert not well
    assert document["status"] == "fail"
    assert checks["client:lifetime"][0]["output"] == "expired"
    assert "output" not in checks["broker:lifetime"][0]
    assert checks["broker:lifetime"][0]["observedValue"] == 30 * 86400 - 60
    assert checks["broker:lifetime"][0]["observedUnit"] == "s"


def test_health_fails_when_the_loop_does_not_turn() -> None:
    """The loop's check fails, and with it the whole."""
    well, document = health(make_status(turning=False))
    assert (well, document["status"], document["checks"]["loop:lag"][0]["status"]) == (False, "fail", "fail")


def test_health_of_an_identity_without_a_leaf_has_no_lifetime() -> None:
    """Nothing is observed where there is nothing."""
    identity = make_identity(leaf=None, health=Health.FAIL, not_ready=("there is no certificate yet",))
    _, document = health(make_status(identity))
    assert "observedValue" not in document["checks"]["broker:lifetime"][0]
