"""What went wrong with a cluster: librdkafka's log and Kafka's codes, as one sentence and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import KafkaDeniedError, KafkaError, KafkaRefusedError, KafkaUnavailableError
from agent.net.words import in_one_line, without

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.kafka_spec import Cluster

LONGEST_WORDS = 4000
"""Characters of a broker's own words that an error keeps."""

MOST_BROKERS = 32
"""Addresses whose failures are kept."""

CERTIFICATE_REFUSED = "certificate refused"
"""The sort of a failure in which a broker did not take the certificate that the agent showed."""

NOT_TRUSTED = "not trusted"
"""The sort in which the agent did not trust the broker's certificate."""

DENIED = frozenset({29, 30, 31})
"""Kafka's codes for a missing right: on a topic, a group, the cluster."""

REFUSED = frozenset({40, 42, 44})
"""INVALID_CONFIG, INVALID_REQUEST, POLICY_VIOLATION: what was asked for will not do."""

UNSUPPORTED = frozenset({35, -165})
"""Kafka's code, and librdkafka's, for a request that the broker does not know."""

_WRONG_BROKER = "Unexpected broker id"

_FAILED = re.compile(
    r"(?:\[thrd:.*?\]: )?(?:\w+://)?(?P<address>\S+:[0-9]+)/\w+: (?P<what>.*?)"
    r"(?: \(after [0-9]+ms in state .*\))?",
    re.DOTALL,
)
_ALERT = re.compile(r"alert (?P<name>[a-z ]+): SSL alert number (?P<number>[0-9]+)")
_AROUND = re.compile(
    r"(?:Invalid value |Validation of dynamic config update of \w+ failed: |(?:\w+\.)+\w+(?:Exception|Error): )+"
)
_AFTER = " for configuration Invalid dynamic configuration"

_ADVICE_ON_ALERTS = {
    40: "both must have a TLS version and a cipher in common, and a certificate may be wanted",
    45: "the certificate that the agent shows has expired: give the cluster another `identity` or `certificate`",
    70: "both must have a version of TLS in common: 1.2 or later",
    112: "ask for it by a name that it knows: correct `bootstrap`",
    116: "it wants a certificate: give the cluster an `identity`, or `certificate` and `key`",
}
_ADVICE_ON_OUR_CERTIFICATE = (
    "have the agent show a certificate (`identity`, or `certificate` and `key` of the cluster) that has not expired, "
    "that a client may use, and whose CA is in the truststore of that listener"
)

_ADVICE_ON_WORDS = (
    ("Failed to load", "let the broker's user read the file, in the format and with the password of server.properties"),
    ("DistinguishedName", "keep the subject, or set ssl.allow.dn.changes=true in server.properties and restart it"),
    ("SubjectAltNames", "keep every SAN, or set ssl.allow.san.changes=true in server.properties and restart it"),
    ("Keystore entries do not match", "keep the number of entries, or restart the broker"),
    ("PKIX path building failed", "have every broker trust the CA of the certificate first"),
    ("Empty client certificate chain", "have every broker trust the CA of the certificate first"),
    ("validity check failed", "see which has expired, the new leaf or that in use; for the latter restart the broker"),
    ("Extended key usage", "have the leaf issued for server and client: a broker is a client of the others"),
    ("Invalid CertificateVerify", "see that the key is that of the certificate"),
    ("restart broker", "restart it: this cannot be changed while it runs"),
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A connection that failed: at which address, and what librdkafka says of it."""

    address: str
    what: str

    @property
    def is_login(self) -> bool:
        """Whether name or password was refused; they will not be right the next time either."""
        return self.what.startswith("SASL ")

    @property
    def is_unverified(self) -> bool:
        """Whether the broker's certificate was not what the anchors vouch for."""
        return "certificate verify failed" in self.what

    @property
    def alert(self) -> re.Match[str] | None:
        """The alert that the broker ended the handshake with."""
        return _ALERT.search(self.what)

    @property
    def weight(self) -> int:
        """How much it tells: what a broker refuses says more than that another does not answer."""
        ladder = (self.is_login, self.is_unverified, self.alert is not None)
        return next((len(ladder) - place for place, holds in enumerate(ladder) if holds), 0)


class Heard:
    """Takes librdkafka's log in place of standard error, and keeps the last failure of each address."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._failures: dict[str, Failure] = {}

    def log(self, _level: int, _form: str, *words: object) -> None:
        """Take one line as confluent-kafka hands it over: its kind, the client's name, the text."""
        kind, text = str(words[0]), without(str(words[-1]), self._secrets)
        matched = _FAILED.fullmatch(text)
        if kind == "FAIL" and matched:
            failure = Failure(matched["address"], in_one_line(matched["what"]))
            # The latest goes last, and the oldest where there are too many.
            self._failures.pop(failure.address, None)
            self._failures[failure.address] = failure
            if len(self._failures) > MOST_BROKERS:
                del self._failures[next(iter(self._failures))]

    def forget(self) -> None:
        """Forget the failures: there was an answer after them."""
        self._failures.clear()

    @property
    def addresses(self) -> int:
        """At how many addresses a connection has failed since the last answer."""
        return len(self._failures)

    @property
    def worst(self) -> Failure | None:
        """The failure that tells most, the latest of those that tell as much; None where none was heard of."""
        return max(reversed(self._failures.values()), key=lambda one: one.weight, default=None)


# --- no answer ------------------------------------------------------------------------------


def unavailable(cluster: Cluster, failure: Failure | None, *, why_unverified: str = "") -> KafkaUnavailableError:
    """Return the error for a request without an answer, after the failure that tells most.

    `why_unverified` is what a verification of the broker's certificate says, where librdkafka says
    only that it failed.
    """
    name = f"the Kafka cluster {cluster.name}"
    if failure is None:
        return KafkaUnavailableError(
            f"{name} has not answered within {cluster.within.total_seconds():.3g} s",
            advice=f"see whether it runs, and is reached from here at {', '.join(cluster.bootstrap)}",
            reason="time-out",
        )
    at = f"{name} at {failure.address}"
    if failure.is_login:
        return KafkaUnavailableError(
            f"{at} refuses the login: {failure.what}",
            advice="correct `sasl` of the cluster: mechanism, user name, and the password where it is kept",
            reason="login refused",
        )
    if failure.is_unverified:
        return KafkaUnavailableError(
            f"{at} is not trusted: {why_unverified or 'its certificate cannot be verified'}",
            advice=_advice_on_theirs(why_unverified),
            reason=NOT_TRUSTED,
        )
    if failure.alert:
        phrase, number = failure.alert["name"], int(failure.alert["number"])
        return KafkaUnavailableError(
            f"{at} ended the TLS handshake: {phrase} (alert {number})",
            advice=_ADVICE_ON_ALERTS.get(number, _ADVICE_ON_OUR_CERTIFICATE),
            reason=CERTIFICATE_REFUSED,
        )
    return _unreached(at, failure)


def _advice_on_theirs(why: str) -> str:
    if "mismatch" in why:
        return "let its certificate name that host, or ask it by a name that it has, or set `verify_host_name: false`"
    if "expired" in why or "not yet valid" in why:
        return "renew the certificate of that broker, and see that the clocks are right"
    return (
        "put the root CA of its certificate into `ca_file` of the cluster, or into the truststore of the identity; "
        "see that it has not expired and names the host"
    )


def _unreached(at: str, failure: Failure) -> KafkaUnavailableError:
    advice = f"see whether the broker runs, and is reached from here at {failure.address}"
    if "Connection refused" in failure.what:
        return KafkaUnavailableError(f"{at} is down: nothing listens there", advice=advice)
    if "Failed to resolve" in failure.what:
        return KafkaUnavailableError(
            f"{at} is not found: {failure.what}", advice="correct `bootstrap`, or what the broker is advertised as"
        )
    if "timed out" in failure.what:
        return KafkaUnavailableError(
            f"{at} takes connections and answers nothing: {failure.what}", advice=advice, reason="time-out"
        )
    if failure.what.startswith("Disconnected"):
        return KafkaUnavailableError(
            f"{at} closes the connection before it answers: {failure.what}",
            advice="see that `security_protocol` of the cluster is that of the listener",
        )
    return KafkaUnavailableError(f"{at} failed: {failure.what}", advice=advice)


# --- an answer, and no ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: of which broker (None: any), by whom, and the right on the cluster that it takes."""

    principal: str
    operation: str
    node_id: int | None = None


def answered(cluster: Cluster, question: Question, code: int, text: str) -> KafkaError:
    """Return the error for what a broker has answered, by Kafka's code and its own words."""
    who = "a broker" if question.node_id is None else f"broker {question.node_id}"
    broker = f"{who} of the Kafka cluster {cluster.name}"
    words = _printable(text)
    if code in DENIED:
        return KafkaDeniedError(
            f"{broker} does not allow {question.principal} to do this: {in_one_line(words)}",
            advice=(
                f"give it the right: kafka-acls --bootstrap-server {cluster.bootstrap[0]} --add "
                f"--allow-principal 'User:{question.principal}' --operation {question.operation} --cluster"
                + ("" if cluster.sasl else " (with what ssl.principal.mapping.rules make of the name, if they are set)")
            ),
        )
    if words.startswith(_WRONG_BROKER):
        return KafkaUnavailableError(
            f"another broker answers where {broker} is advertised: {in_one_line(words)}",
            advice="correct advertised.listeners of the brokers, or the way to them",
            reason="node id",
        )
    if code in REFUSED:
        core = core_of(words)
        advice = next((advice for mark, advice in _ADVICE_ON_WORDS if mark in core), "")
        return KafkaRefusedError(f"{broker} refuses: {in_one_line(core)}", words=words, advice=advice)
    if code in UNSUPPORTED:
        return KafkaUnavailableError(
            f"{broker} does not know the request: {in_one_line(words)}",
            advice="it takes Kafka 2.3 or later",
            reason="unsupported",
        )
    return KafkaUnavailableError(f"{broker} could not do it now: {in_one_line(words)}", advice="see its log")


def core_of(words: str) -> str:
    """Return what a refusal is about, without the names of Java's classes that Kafka puts around it."""
    text = words.removesuffix(_AFTER)
    around = _AROUND.match(text)
    return text[around.end() :] if around else text


def _printable(text: str) -> str:
    line = "".join(one if one.isprintable() else " " for one in text).strip()
    return line if len(line) <= LONGEST_WORDS else line[: LONGEST_WORDS - 1] + "…"
