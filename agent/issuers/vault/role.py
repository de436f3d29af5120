"""What a role's fields say about the leaves that are wanted of it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from cryptography.x509.oid import NameOID

from agent.core.identity import Usage
from agent.core.issuer_spec import Signing
from agent.core.issuer_status import Examined, Opinion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.core.identity import Request
    from agent.core.issuer_spec import VaultSpec

FLAGS = {Usage.SERVER: ("server_flag", "ServerAuth"), Usage.CLIENT: ("client_flag", "ClientAuth")}

FROM_ROLE = (
    (NameOID.ORGANIZATION_NAME, "O", "organization"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "OU", "ou"),
    (NameOID.COUNTRY_NAME, "C", "country"),
    (NameOID.LOCALITY_NAME, "L", "locality"),
    (NameOID.STATE_OR_PROVINCE_NAME, "ST", "province"),
)
"""The attributes of a subject that `sign` takes from the role and not from the CSR."""


def judge(spec: VaultSpec, role: Mapping[str, Any], requests: Sequence[Request]) -> tuple[Examined, ...]:
    """Return what the role forbids, shortens or changes, each once; one good word where it is nothing."""
    found: dict[str, Examined] = {}
    for request in requests:
        for one in _of_request(spec, role, request):
            found.setdefault(one.sentence, one)
    where = f"{spec.mount}/roles/{spec.role}"
    return tuple(found.values()) or (Examined("role", Opinion.GOOD, f"{where} allows what is wanted"),)


def _of_request(spec: VaultSpec, role: Mapping[str, Any], request: Request) -> Iterator[Examined]:
    where = f"{spec.mount}/roles/{spec.role}"
    longest = _number(role.get("max_ttl"))
    if 0 < longest < request.lifetime.total_seconds():
        yield Examined(
            "lifetime",
            Opinion.DOUBTFUL,
            f"max_ttl of {where} is {longest} s, and leaves of {request.lifetime} are shortened to it:"
            " raise it or ask for a shorter `lifetime`",
        )
    if spec.signing is Signing.VERBATIM:
        return  # nothing else of the role is heeded
    yield from _of_names(where, role, request)
    yield from _of_key(where, role, request)
    yield from _of_usages(where, role, request)
    yield from _of_subject(where, role, request)


def _of_names(where: str, role: Mapping[str, Any], request: Request) -> Iterator[Examined]:
    common_names = [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if role.get("require_cn") is True and not common_names:
        yield Examined("names", Opinion.BAD, f"{where} requires a common name: set `subject`, or require_cn to false")
    for name in dict.fromkeys((*request.sans.dns, *common_names)):
        allowed = _is_allowed(name, role)
        if allowed is False:
            yield Examined(
                "names", Opinion.BAD, f"{where} does not allow {name}: see allowed_domains, allow_subdomains and others"
            )
        elif allowed is None:
            yield Examined("names", Opinion.UNKNOWN, f"{where} allows names by templates, which only Vault can tell")
    if request.sans.ip and role.get("allow_ip_sans") is False:
        yield Examined("names", Opinion.BAD, f"{where} allows no IP SANs: set allow_ip_sans, or ask for none")
    patterns = _texts(role.get("allowed_uri_sans"))
    for uri in request.sans.uri:
        if role.get("allowed_uri_sans_template") is not True and not any(fnmatchcase(uri, one) for one in patterns):
            yield Examined("names", Opinion.BAD, f"{where} does not allow the SAN {uri}: see allowed_uri_sans")


def _is_allowed(name: str, role: Mapping[str, Any]) -> bool | None:
    """Whether the role allows a DNS name; None where only Vault can tell."""
    if role.get("allow_any_name") is True:
        return True
    if role.get("allow_localhost") is True and name in ("localhost", "localdomain"):
        return True
    for domain in _texts(role.get("allowed_domains")):
        if role.get("allow_bare_domains") is True and name == domain:
            return True
        if role.get("allow_subdomains") is True and name.endswith(f".{domain}"):
            return True
        if role.get("allow_glob_domains") is True and "*" in domain and fnmatchcase(name, domain):
            return True
    return None if role.get("allowed_domains_template") is True else False


def _of_key(where: str, role: Mapping[str, Any], request: Request) -> Iterator[Examined]:
    kind, bits = role.get("key_type"), _number(role.get("key_bits"))
    family = request.key.partition("-")[0]
    size = (
        _number(int(digits)) if (digits := "".join(one for one in request.key[len(family) :] if one.isdigit())) else 0
    )
    if kind in ("rsa", "ec", "ed25519") and kind != family:
        sentence = f"{where} takes keys of type {kind}: correct `key: algorithm`, or the role's key_type"
        yield Examined("key", Opinion.BAD, sentence)
    elif kind == family and family != "ed25519" and size < bits:
        sentence = (
            f"{where} takes {kind} keys of {bits} bits and more: correct `key: algorithm`, or the role's key_bits"
        )
        yield Examined("key", Opinion.BAD, sentence)


def _of_usages(where: str, role: Mapping[str, Any], request: Request) -> Iterator[Examined]:
    named = [one.removeprefix("ExtKeyUsage") for one in _texts(role.get("ext_key_usage"))]
    for usage in sorted(request.usages):
        flag, name = FLAGS[usage]
        if role.get(flag) is False and name not in named:
            yield Examined("usages", Opinion.BAD, f"{where} gives no leaf the usage `{usage}`: set its {flag}")


def _of_subject(where: str, role: Mapping[str, Any], request: Request) -> Iterator[Examined]:
    for oid, name, key in FROM_ROLE:
        asked = [str(one.value) for one in request.subject.get_attributes_for_oid(oid)]
        given = _texts(role.get(key))
        if sorted(asked) != sorted(given):
            what = (
                f"puts {name}={'+'.join(given) or 'nothing'} where the identity asks for {'+'.join(asked) or 'nothing'}"
            )
            yield Examined(
                "subject",
                Opinion.DOUBTFUL,
                f"{where} {what}, which changes the principal that Kafka's ACLs see: set its {key}, sign with"
                " `sign: verbatim`, or change the identity's `subject`",
            )


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
