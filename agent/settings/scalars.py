"""The small values of the settings: spans, names, addresses, modes; each says what to write instead."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from agent.core.identity import KeyAlgorithm

LISTENER_NAME = "^[A-Za-z0-9_.-]+$"
UNIT_NAME = r"^[A-Za-z0-9:_.\\@-]+\.(service|scope)$"
"""Names of systemd's units of which processes are (systemd.unit(5))."""
_SPAN = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,12})s)?")
_LONGEST = timedelta(days=36500)
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_DIGITS = re.compile(r"[0-9]+(\.[0-9]+)+")
_MODE = re.compile(r"0?[0-7]{3}")
_LISTENER = re.compile(LISTENER_NAME)
_UNIT = re.compile(UNIT_NAME)
_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LONGEST_NAME = 253
_LONGEST_FILE_NAME = 200
"""Bytes; file systems take 255, and while a file is written its name is a little longer."""
_LONGEST_SHOWN = 260


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _span(value: Any, *, may_be_zero: bool = False) -> timedelta:
    wanted = "write a span as 30d, 12h, 90s or 1h30m"
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} has no unit: {wanted}")  # noqa: TRY004 - pydantic gathers ValueError
    matched = _SPAN.fullmatch(value.strip())
    if not value.strip() or matched is None:
        raise ValueError(f"{_shown(value)} is no span: {wanted}")
    days, hours, minutes, seconds = (int(part or 0) for part in matched.groups())
    try:
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        span = timedelta.max
    if not timedelta(0) < span <= _LONGEST and not (may_be_zero and not span):
        raise ValueError(f"{_shown(value)} is not between a second and a hundred years: {wanted}")
    return span


def _pause(value: Any) -> timedelta:
    return _span(value, may_be_zero=True)


_SPAN_SCHEMA = {"type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$", "examples": ["30d", "1h30m"]}

Span = Annotated[timedelta, BeforeValidator(_span), WithJsonSchema(_SPAN_SCHEMA)]
Pause = Annotated[timedelta, BeforeValidator(_pause), WithJsonSchema(_SPAN_SCHEMA)]
"""A span that may be of no time at all."""


def dns_name(name: str, *, wildcard: bool = True) -> str:
    """Return a host name in lower case; raise `ValueError` for what is none (RFC 1123, RFC 6125 for a wildcard)."""
    if not name.isascii():
        raise ValueError(f"{_shown(name)} is not ASCII: write it in its IDNA form, as xn--bcher-kva.example")
    if "*" in name.removeprefix("*.") or (name.startswith("*.") and not wildcard):
        where = "stands alone in the leftmost label: write it as *.example.com" if wildcard else "has no place here"
        raise ValueError(f"{_shown(name)} has a wildcard, which {where}")
    if _is_address(name):
        raise ValueError(f"{_shown(name)} is an IP address: write it under `ip`")
    labels = name.removeprefix("*.").split(".")
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels) or _DIGITS.fullmatch(name):
        raise ValueError(f"{_shown(name)} is no host name: write labels of letters, digits and hyphens, joined by dots")
    return name.lower()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host_name(text: str) -> str:
    return text if _is_address(text) else dns_name(text, wildcard=False)


def _peer_name(text: str) -> str:
    if _is_address(text) and "%" not in text:
        return str(ipaddress.ip_address(text))
    return dns_name(text, wildcard=False)


def _listener_name(text: str) -> str:
    if not _LISTENER.fullmatch(text):
        raise ValueError(f"{_shown(text)} is no name of a listener: write letters, digits, dot, hyphen, underscore")
    return text


def _unit_name(text: str) -> str:
    if not _UNIT.fullmatch(text):
        raise ValueError(f"{_shown(text)} is no unit that has a process: write one as orders.service")
    return text


def _cron(text: str) -> str:
    """Return an expression with one blank between its fields; one that never comes is refused with the rest."""
    wanted = 'write five fields in quotes, as "0 2 * * 6" for Saturdays at two'
    fields = text.split()
    if len(fields) != 5 or len(text) > _LONGEST_SHOWN:
        raise ValueError(f"{_shown(text)} is no cron expression: {wanted}")
    from cronsim import CronSim, CronSimError

    expression = " ".join(fields)
    try:
        comes = next(CronSim(expression, _SOME_TIME), None)
    except CronSimError as error:
        raise ValueError(f"{_shown(text)} is no cron expression ({str(error).lower()}): {wanted}") from None
    if comes is None:
        raise ValueError(f"{_shown(text)} never comes: {wanted}")
    return expression


_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
"""Whether an expression ever comes is the same from everywhere: the calendar repeats itself."""


def _namespace(text: str) -> str:
    # It becomes a header, and a line end in one would be the start of another.
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{_shown(text)} is no namespace: write one as platform/kafka")
    return text


def _address(text: str) -> str:
    if not _is_address(text) or "%" in text:
        raise ValueError(f"{_shown(text)} is no IP address: write one as 192.0.2.1 or 2001:db8::1")
    return str(ipaddress.ip_address(text))


def _uri(text: str) -> str:
    if not text.isascii() or not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S+", text):
        raise ValueError(f"{_shown(text)} is no URI: write one as spiffe://example.com/kafka")
    return text


def _file_name(name: str) -> str:
    if "/" in name:
        raise ValueError(f"{_shown(name)} leaves the directory: write a plain file name, and the folder as `directory`")
    if not name or not name.isprintable():
        raise ValueError(f"{_shown(name)} is no file name: write one of letters, digits, dot, hyphen")
    if name.startswith("."):
        raise ValueError(f"{_shown(name)} begins with a dot, as the agent's own files do: write another name")
    if len(name.encode()) > _LONGEST_FILE_NAME:
        raise ValueError(f"{_shown(name)} is longer than {_LONGEST_FILE_NAME} bytes: write a shorter name")
    if name == "generation.json":
        raise ValueError(f"{_shown(name)} is the name of a generation's manifest: write another name")
    return name


def _path(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty: write a path")
    if isinstance(value, str) and value.startswith("~"):
        raise ValueError(f"{_shown(value)} begins with ~, which only a shell understands: write the path whole")
    return value


def _mode(value: Any) -> int:
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise ValueError(f'{_shown(value)} is no mode: write it octal and in quotes, as "0440"')
    return int(value, 8)


def _alias(alias: str) -> str:
    if not _ALIAS.fullmatch(alias):
        raise ValueError(
            f"{_shown(alias)} is no alias: write lower-case letters, digits, dot, hyphen; Java lower-cases them"
        )
    return alias


def host_and_port(address: str) -> tuple[str, int]:
    """Take `host:port` or `[ipv6]:port` apart; raise `ValueError` for anything else."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    wanted = "write host:port, as localhost:9093 or [::1]:9093"
    if "@" in address:
        raise ValueError(f"holds a user or password: {wanted}")
    if not colon or not host or not (port.isascii() and port.isdecimal()) or (":" in host) != bracketed:
        raise ValueError(f"{_shown(address)} is no address: {wanted}")
    if len(port) > 5 or not 1 <= int(port) <= 65535:
        raise ValueError(f"port {port[:20]} does not exist: write one between 1 and 65535")
    if bracketed and not _is_address(host):
        raise ValueError(f"{_shown(address)} is no address: {wanted}")
    if not bracketed and not _is_address(host):
        host = dns_name(host, wildcard=False)
    return host, int(port)


def _endpoint(address: str) -> str:
    host_and_port(address)
    return address


def _key_name(value: str) -> str:
    known = ", ".join(KeyAlgorithm)
    matched = re.fullmatch(r"rsa-?([0-9]{1,5})", value)
    if matched and int(matched[1]) < 2048:
        raise ValueError(f"RSA with {matched[1]} bits is refused by Java and OpenSSL: write ec-p256, or rsa-3072")
    if value not in {*KeyAlgorithm}:
        raise ValueError(f"{value[:40]!r} is no key that the agent makes: write one of {known}")
    return value


def _url(text: str) -> str:
    if "@" in text:
        raise ValueError("holds a user or password: leave them out")
    try:
        url = urlsplit(text)
        wrong = url.scheme not in ("http", "https") or not url.hostname or bool(url.query or url.fragment)
        wrong = wrong or url.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError(f"{_shown(text)} is no address of a server: write one as https://vpce-1.example.com")
    return text.rstrip("/")


def _authority_arn(text: str) -> str:
    if not re.fullmatch(r"arn:[a-z-]+:acm-pca:[a-z0-9-]+:[0-9]{12}:certificate-authority/[\w-]+", text, re.ASCII):
        raise ValueError(
            f"{_shown(text)} is no ARN of a CA: write one as"
            " arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/…"
        )
    return text


def _role_arn(text: str) -> str:
    if not re.fullmatch(r"arn:[a-z-]+:iam::[0-9]{12}:role/[\w+=,.@/-]+", text, re.ASCII):
        raise ValueError(f"{_shown(text)} is no ARN of a role: write one as arn:aws:iam::111122223333:role/name")
    return text


def _session_name(text: str) -> str:
    if not re.fullmatch(r"[\w+=,.@-]{2,64}", text, re.ASCII):
        raise ValueError(f"{_shown(text)} is no name of a session: write 2 to 64 letters, digits or +=,.@-")
    return text


def _mount_path(text: str) -> str:
    path = text.strip("/")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", path, re.ASCII) or ".." in path:
        raise ValueError(f"{_shown(text)} is no path of a mount: write one as approle or team/approle")
    return path


DnsName = Annotated[str, AfterValidator(dns_name)]
HostName = Annotated[str, AfterValidator(_host_name)]
PeerName = Annotated[str, AfterValidator(_peer_name)]
ListenerName = Annotated[
    str, AfterValidator(_listener_name), WithJsonSchema({"type": "string", "pattern": LISTENER_NAME})
]
UnitName = Annotated[str, AfterValidator(_unit_name), WithJsonSchema({"type": "string", "pattern": UNIT_NAME})]
Cron = Annotated[str, AfterValidator(_cron), WithJsonSchema({"type": "string", "examples": ["0 2 * * 6"]})]
Namespace = Annotated[str, AfterValidator(_namespace)]
IpAddress = Annotated[str, AfterValidator(_address)]
Uri = Annotated[str, AfterValidator(_uri)]
KeyName = Annotated[str, AfterValidator(_key_name)]
Url = Annotated[str, AfterValidator(_url)]
AuthorityArn = Annotated[str, AfterValidator(_authority_arn)]
RoleArn = Annotated[str, AfterValidator(_role_arn)]
SessionName = Annotated[str, AfterValidator(_session_name)]
MountPath = Annotated[str, AfterValidator(_mount_path)]
PathName = Annotated[Path, BeforeValidator(_path)]
FileName = Annotated[str, AfterValidator(_file_name)]
Mode = Annotated[int, BeforeValidator(_mode), WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$"})]
Alias = Annotated[str, AfterValidator(_alias)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
