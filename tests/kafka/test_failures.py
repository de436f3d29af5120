"""What librdkafka logs and Kafka answers becomes one sentence and what to do, and holds no secret."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.kafka_spec import Cluster, SaslLogin
from agent.core.secret import Secret
from agent.errors import KafkaDeniedError, KafkaRefusedError, KafkaUnavailableError
from agent.kafka.failures import LONGEST_WORDS, MOST_BROKERS, Heard, Question, answered, core_of, unavailable

CLUSTER = Cluster("prod", ("kafka1.example.com:9093", "kafka2.example.com:9093"), within=timedelta(seconds=10))
WITH_SASL = replace(CLUSTER, sasl=SaslLogin("PLAIN", "alice", Secret(environment="X")))
QUESTION = Question("CN=agent,O=MyOrg", "AlterConfigs", 3)
AROUND = (
    "Invalid value org.apache.kafka.common.config.ConfigException: Validation of dynamic config update of SSLFactory "
    "failed: org.apache.kafka.common.config.ConfigException: "
)
AFTER = " for configuration Invalid dynamic configuration"


def heard(*texts: str, secrets: tuple[str, ...] = (), scheme: str = "ssl://") -> Heard:
    """Return what was heard of failures: each is the address, a blank, and librdkafka's words."""
    found = Heard(secrets)
    for text in texts:
        address, _, what = text.partition(" ")
        broker = f"{scheme}{address}/bootstrap"
        found.log(3, "%s [%s] %s", "FAIL", "cert-agent#producer-1", f"[thrd:{broker}]: {broker}: {what}")
    return found


def told(*texts: str, why: str = "", scheme: str = "ssl://") -> KafkaUnavailableError:
    """Return the error for a request without an answer, after these failures."""
    return unavailable(CLUSTER, heard(*texts, scheme=scheme).worst, why_unverified=why)


@pytest.mark.parametrize(
    ("text", "why", "what", "advice", "reason"),
    [
        (
            "Connect to ipv4#192.0.2.1:9093 failed: Connection refused (after 0ms in state CONNECT)",
            "",
            "is down: nothing listens there",
            "see whether the broker runs",
            "unavailable",
        ),
        (
            "Failed to resolve 'a:1': Name not known (after 1ms in state CONNECT, 3 identical error(s) suppressed)",
            "",
            "is not found: Failed to resolve 'a:1': Name not known",
            "correct `bootstrap`",
            "unavailable",
        ),
        (
            "Connection setup timed out in state SSL_HANDSHAKE (after 2002ms in state SSL_HANDSHAKE)",
            "",
            "takes connections and answers nothing: Connection setup timed out in state SSL_HANDSHAKE",
            "see whether the broker runs",
            "time-out",
        ),
        (
            "Disconnected: connection reset by peer (after 0ms in state APIVERSION_QUERY)",
            "",
            "closes the connection before it answers: Disconnected: connection reset by peer",
            "see that `security_protocol` of the cluster is that of the listener",
            "unavailable",
        ),
        ("Protocol read buffer full", "", "failed: Protocol read buffer full", "see whether", "unavailable"),
        (
            "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed (after 3ms in state X)",
            "",
            "is not trusted: its certificate cannot be verified",
            "put the root CA of its certificate into `ca_file`",
            "not trusted",
        ),
        (
            "error:0A000086:SSL routines::certificate verify failed (after 2ms in state SSL_HANDSHAKE)",
            "Hostname mismatch, certificate is not valid for 'a'.",
            "is not trusted: Hostname mismatch, certificate is not valid for 'a'.",
            "let its certificate name that host",
            "not trusted",
        ),
        (
            "error:0A000086:SSL routines::certificate verify failed (after 2ms in state SSL_HANDSHAKE)",
            "certificate has expired",
            "is not trusted: certificate has expired",
            "renew the certificate of that broker",
            "not trusted",
        ),
        (
            "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42",
            "",
            "ended the TLS handshake: bad certificate (alert 42)",
            "have the agent show a certificate",
            "certificate refused",
        ),
        (
            "Receive failed: error:0A000415:SSL routines::ssl/tls alert certificate expired: SSL alert number 45",
            "",
            "ended the TLS handshake: certificate expired (alert 45)",
            "the certificate that the agent shows has expired",
            "certificate refused",
        ),
        (
            "SASL authentication error: Authentication failed: Invalid username or password (after 3ms in state X)",
            "",
            "refuses the login: SASL authentication error: Authentication failed: Invalid username or password",
            "correct `sasl` of the cluster",
            "login refused",
        ),
    ],
)
def test_failure_is_told_with_its_reason(text: str, why: str, what: str, advice: str, reason: str) -> None:
    """Each sort of failure has its sentence, its advice and its word for metrics."""
    error = told(f"a.example.com:9093 {text}", why=why)
    assert error.what == f"the Kafka cluster prod at a.example.com:9093 {what}"
    assert error.advice.startswith(advice)
    assert error.reason == reason


def test_silence_is_told_with_the_addresses() -> None:
    """Where nothing failed, nothing was answered either."""
    error = told()
    assert error.what == "the Kafka cluster prod has not answered within 10 s"
    assert "kafka1.example.com:9093, kafka2.example.com:9093" in error.advice
    assert error.reason == "time-out"


def test_failure_that_tells_most_is_told() -> None:
    """What one broker refuses says more than that another is down; of two alike it is the latest."""
    down, refused = "Connect to ipv4#x failed: Connection refused", "SASL authentication error: no"
    unverified, alert = "error: certificate verify failed", "alert bad certificate: SSL alert number 42"
    ladder = [f"a:1 {refused}", f"b:1 {unverified}", f"c:1 {alert}", f"d:1 {down}"]
    for start in range(len(ladder)):
        for order in (ladder[start:], [*ladder[:start:-1], ladder[start]]):
            worst = heard(*order).worst
            assert worst is not None
            assert worst.address == ladder[start].partition(" ")[0]
    assert (worst := heard(f"a:1 {down}", f"b:1 {down}").worst) is not None
    assert worst.address == "b:1"
    assert (worst := heard(f"a:1 {down}", f"b:1 {down}", f"a:1 {down}").worst) is not None
    assert worst.address == "a:1"


def test_latest_failure_of_an_address_counts() -> None:
    """A broker that is back, and fails otherwise, is told as it is now."""
    error = told("a:1 SASL authentication error: no", "a:1 Connect to x failed: Connection refused")
    assert error.what.endswith("is down: nothing listens there")


@pytest.mark.parametrize("scheme", ["", "ssl://", "sasl_ssl://"])
def test_address_is_read_of_every_protocol(scheme: str) -> None:
    """Without TLS librdkafka writes no protocol before an address; an IPv6 address stands in brackets."""
    worst = heard("[2001:db8::1]:9093 Disconnected", scheme=scheme).worst
    assert worst is not None
    assert (worst.address, worst.what) == ("[2001:db8::1]:9093", "Disconnected")


def test_other_lines_of_the_log_are_no_failures() -> None:
    """What is not about a connection that failed, or not in the form that is known, is passed over."""
    found = Heard()
    found.log(3, "%s [%s] %s", "ERROR", "rdkafka#producer-1", "[thrd:main]: 1/1 brokers are down")
    found.log(3, "%s [%s] %s", "FAIL", "rdkafka#producer-1", "of another kind")
    assert found.worst is None


def test_failures_are_forgotten_after_an_answer() -> None:
    """What failed before a broker answered is not why the next one does not."""
    found = heard("a:1 Connect failed: Connection refused")
    found.forget()
    assert found.worst is None


def test_failures_of_many_brokers_are_bounded() -> None:
    """Only the latest are kept."""
    found = heard("first:1 SASL authentication error", *(f"host{n}:1 Disconnected" for n in range(MOST_BROKERS)))
    assert found.worst is not None
    assert found.worst.address == f"host{MOST_BROKERS - 1}:1"


def test_secret_in_the_log_is_not_repeated() -> None:
    """A password that comes back from the other end is taken out, whatever else is said."""
    worst = heard("a:1 SASL authentication error: hunter2 is wrong", secrets=("hunter2",)).worst
    assert worst is not None
    assert worst.what == "SASL authentication error: [secret] is wrong"


@given(st.text(), st.text(min_size=4))
def test_whatever_is_logged_is_told_in_one_line_without_the_secret(text: str, secret: str) -> None:
    """No text of a broker breaks a line, commands a terminal or brings a secret along."""
    found = heard(f"a:1 {text} {secret} {text}", secrets=(secret,))
    error = unavailable(CLUSTER, found.worst)
    assert error.diagnosis().isprintable()
    if secret not in unavailable(CLUSTER, heard("a:1 [secret]").worst).diagnosis():
        assert secret not in error.diagnosis()


# --- answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("core", "advice"),
    [
        ("Keystore DistinguishedName does not match:  existing={alias=kafka, DN=CN=a}, new={}", "keep the subject"),
        ("Keystore SubjectAltNames do not match: existing={}, new={}", "keep every SAN"),
        ("Failed to load SSL keystore /ssl/keystore.p12 of type PKCS12", "let the broker's user read the file"),
        ("Keystore entries do not match, existing store contains 1 entries, new store contains 2 entries", "keep the"),
        ("PKIX path building failed: unable to find valid certification path", "have every broker trust the CA"),
        ("Extended key usage does not permit use for TLS client authentication", "have the leaf issued for server and"),
        ("Invalid CertificateVerify signature", "see that the key is that of the certificate"),
        ("PKIX path validation failed: java.security.cert.X: validity check failed", "see which has expired"),
        ("Empty client certificate chain", "have every broker trust the CA of the certificate first"),
        ("Configs cannot be updated dynamically for existing listener A, restart broker or create", "restart it"),
        ("Something else", ""),
    ],
)
def test_refusal_is_told_by_its_core_and_kept_in_full(core: str, advice: str) -> None:
    """The names of Java's classes around it are left out of the sentence, and out of nothing else."""
    error = answered(CLUSTER, QUESTION, 42, AROUND + core + AFTER)
    assert isinstance(error, KafkaRefusedError)
    assert error.what == f"broker 3 of the Kafka cluster prod refuses: {' '.join(core.split())}"
    assert error.words == AROUND + core + AFTER
    assert error.advice.startswith(advice)
    assert bool(error.advice) == bool(advice)


@pytest.mark.parametrize(
    ("words", "core"),
    [
        (
            "Cannot update these configs dynamically: [broker.rack]",
            "Cannot update these configs dynamically: [broker.rack]",
        ),
        (f"{AROUND}x{AFTER}", "x"),
        ("org.apache.kafka.common.KafkaException: x", "x"),
        ("", ""),
    ],
)
def test_core_of_a_refusal_is_what_it_is_about(words: str, core: str) -> None:
    """Words that stand alone are left as they are."""
    assert core_of(words) == core


def test_words_of_a_refusal_are_bounded_and_printable() -> None:
    """A store of a thousand names makes long words."""
    error = answered(CLUSTER, QUESTION, 40, "a\nb\x1b[2J" + "x" * 10_000)
    assert isinstance(error, KafkaRefusedError)
    assert len(error.words) == LONGEST_WORDS
    assert error.words.isprintable()
    assert error.words.startswith("a b")
    assert len(error.what) < 400


def test_missing_right_is_told_with_the_acl() -> None:
    """The advice is the command that gives it."""
    error = answered(CLUSTER, QUESTION, 31, "Cluster authorization failed.")
    assert isinstance(error, KafkaDeniedError)
    assert error.what == (
        "broker 3 of the Kafka cluster prod does not allow CN=agent,O=MyOrg to do this: Cluster authorization failed."
    )
    assert error.advice == (
        "give it the right: kafka-acls --bootstrap-server kafka1.example.com:9093 --add --allow-principal "
        "'User:CN=agent,O=MyOrg' --operation AlterConfigs --cluster "
        "(with what ssl.principal.mapping.rules make of the name, if they are set)"
    )
    error = answered(WITH_SASL, Question("alice", "DescribeConfigs", 3), 31, "no")
    assert error.advice.endswith("--allow-principal 'User:alice' --operation DescribeConfigs --cluster")


@pytest.mark.parametrize(
    ("code", "text", "reason", "begins"),
    [
        (42, "Unexpected broker id, expected 3, but received 2", "node id", "another broker answers where broker 3 of"),
        (
            35,
            "Broker: Unsupported version",
            "unsupported",
            "broker 3 of the Kafka cluster prod does not know the request",
        ),
        (
            -165,
            "Local: Required feature not supported",
            "unsupported",
            "broker 3 of the Kafka cluster prod does not know",
        ),
        (41, "Broker: Not controller", "unavailable", "broker 3 of the Kafka cluster prod could not do it now: Broker"),
        (-1, "Unknown broker error", "unavailable", "broker 3 of the Kafka cluster prod could not do it now: Unknown"),
    ],
)
def test_answer_that_is_no_verdict_leaves_all_open(code: int, text: str, reason: str, begins: str) -> None:
    """Neither another broker's answer nor a trouble of the moment says anything about what was asked."""
    error = answered(CLUSTER, QUESTION, code, text)
    assert isinstance(error, KafkaUnavailableError)
    assert error.reason == reason
    assert error.what.startswith(begins)


def test_question_to_no_broker_in_particular_names_none() -> None:
    """Who is there is asked of whichever broker answers."""
    error = answered(CLUSTER, Question("x", "Describe"), 41, "no")
    assert error.what.startswith("a broker of the Kafka cluster prod could not do it now")
