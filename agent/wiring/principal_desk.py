"""The verb that says which principals a broker makes of names, without any configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.core.certificate import Certificate
from agent.core.distinguished_name import java_name, java_releases_disagree
from agent.core.principal import OWN_BUILDER, RELEASES_DISAGREE, Mapped, Rules, beyond_preview
from agent.errors import AgentError, MaterialError
from agent.keystores import pem
from agent.net.words import escaped
from agent.stores.atomic import on_disk, read_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PEM = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Told:
    """What the verb has to say: as lines for people, as JSON values, and what is to be said beside them."""

    lines: tuple[str, ...]
    values: list[dict[str, Any]]
    remarks: tuple[str, ...]


def preview(rules: str, builder: str, files: Sequence[Path], names: Sequence[str]) -> Told:
    """Return what becomes of the subjects of the first certificate in each file, and of the names, in this order.

    Names are taken as Java prints them. It blocks. Raise `InvalidRulesError` for rules that no broker
    starts with, `AgentError` for a file that is no certificate.
    """
    read = Rules.parse(rules)
    beyond = "" if builder in {"", OWN_BUILDER} else beyond_preview(builder)
    mapped = list(_mapped(read, beyond, files, names))
    values = [{"dn": name, "principal": one.principal, "error": one.error} for name, one in mapped]
    remarks = () if beyond else tuple(f"{doubt}, and Java may not even take it" for doubt in read.doubts)
    return Told(tuple(_line(name, one) for name, one in mapped), values, tuple(map(escaped, remarks)))


def _mapped(rules: Rules, beyond: str, files: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[str, Mapped]]:
    for file in files:
        subject = _leaf(file).subject
        reason = beyond or (RELEASES_DISAGREE if java_releases_disagree(subject) else "")
        name = java_name(subject)
        yield name, Mapped(None, reason, is_certain=False) if reason else rules.principal(name)
    for name in names:
        yield name, Mapped(None, beyond, is_certain=False) if beyond else rules.principal(name)


def _leaf(file: Path) -> Certificate:
    with on_disk("reading the certificate", file):
        try:
            content = read_bounded(file)
            certificates = pem.decode(content) if _PEM in content else (Certificate.from_der(content),)
        except FileNotFoundError:
            raise AgentError(f"there is no {file}", advice="name a certificate, in PEM or DER") from None
        except MaterialError as error:
            raise MaterialError(f"{file}: {error.what}", advice="name a certificate, in PEM or DER") from None
    if not certificates:
        raise MaterialError(f"{file} holds no certificate", advice="name a certificate, in PEM or DER")
    return certificates[0]


def _line(name: str, mapped: Mapped) -> str:
    told = f"{name}: {mapped.error}" if mapped.principal is None else f"{name} -> {mapped.principal}"
    return escaped(told)
