"""When certificates of the AWS test server begin and end, and what signs them: rules of `IssueCertificate`."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.servers.pca_faults import RefusedError

if TYPE_CHECKING:
    from cryptography import x509

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

BACKDATED = timedelta(minutes=60)
SHORT_LIVED = timedelta(days=7)
END_DATES = {12: "%y%m%d%H%M%S", 14: "%Y%m%d%H%M%S"}
CURVES: dict[str, ec.EllipticCurve] = {
    "EC_prime256v1": ec.SECP256R1(),
    "EC_secp384r1": ec.SECP384R1(),
    "EC_secp521r1": ec.SECP521R1(),
}
HASHES: dict[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}
ALGORITHMS = [
    *(f"{name}WITHECDSA" for name in HASHES),
    *(f"{name}WITHRSA" for name in HASHES),
    *(f"{name}WITHRSA_PSS" for name in HASHES),
]


def make_ca_key(algorithm: str) -> Key:
    """Make a key of a `KeyAlgorithm`."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    if algorithm in ("RSA_2048", "RSA_3072", "RSA_4096"):
        return rsa.generate_private_key(65537, int(algorithm.removeprefix("RSA_")))
    raise RefusedError("InvalidArgsException", f"no CA is made here with a key of {algorithm}")


def usual_algorithm(key: str) -> str:
    """Return the signing algorithm that goes with a `KeyAlgorithm`."""
    by_key = {"EC_secp384r1": "SHA384WITHECDSA", "EC_secp521r1": "SHA512WITHECDSA"}
    return by_key.get(key, "SHA256WITHRSA" if key.startswith("RSA") else "SHA256WITHECDSA")


def sign(builder: x509.CertificateBuilder, key: Key, algorithm: str) -> x509.Certificate:
    """Sign; raise `RefusedError` where the algorithm is not of the key's family."""
    if algorithm not in ALGORITHMS:
        raise constraint("signingAlgorithm", algorithm, f"satisfy enum value set: [{', '.join(ALGORITHMS)}]")
    family = "RSA" if isinstance(key, rsa.RSAPrivateKey) else "ECDSA"
    digest_name, _, scheme = algorithm.partition("WITH")
    if scheme.removesuffix("_PSS") != family:
        raise RefusedError("InvalidArgsException", f"{algorithm} is not of the family of the CA's key, {family}")
    digest = HASHES[digest_name]
    if scheme.endswith("_PSS"):
        return builder.sign(key, digest, rsa_padding=padding.PSS(padding.MGF1(digest), digest.digest_size))
    return builder.sign(key, digest)


def validity(parameters: dict[str, Any], now: datetime, last: datetime, usage_mode: str) -> tuple[datetime, datetime]:
    """Return begin and end as they were asked for; raise `RefusedError` where the CA, ending at `last`, cannot."""
    end = moment(parameters["Validity"], "validity", now).replace(microsecond=0)
    told = parameters.get("ValidityNotBefore")
    if told is not None and told.get("Type") != "ABSOLUTE":
        raise RefusedError("InvalidArgsException", "ValidityNotBefore is of the type ABSOLUTE")
    begin = now - BACKDATED if told is None else moment(told, "validityNotBefore", now)
    if end < now + timedelta(seconds=1) or begin >= end:
        raise RefusedError("ValidationException", "The certificate would end before it begins, or has ended")
    if end > last:
        raise RefusedError("ValidationException", f"The certificate would end at {end} and its CA at {last}")
    if usage_mode == "SHORT_LIVED_CERTIFICATE" and end > now + SHORT_LIVED:
        raise RefusedError("ValidationException", "A CA of short-lived certificates issues for seven days at most")
    return begin.replace(microsecond=0), end


def moment(told: dict[str, Any], name: str, now: datetime) -> datetime:
    """Return the instant that a `Validity` means; days, months and years count from now."""
    kind, value = told.get("Type"), told.get("Value")
    if not isinstance(value, int) or value < 1:
        raise constraint(f"{name}.value", value, "have value greater than or equal to 1")
    try:
        match kind:
            case "DAYS":
                return now + timedelta(days=value)
            case "MONTHS":
                return months_later(now, value)
            case "YEARS":
                return months_later(now, 12 * value)
            case "ABSOLUTE":
                return datetime.fromtimestamp(value, UTC)
            case "END_DATE":
                return _end_date(str(value))
    except (ValueError, OverflowError, KeyError) as error:
        raise RefusedError("InvalidArgsException", f"{name} means no date: {error}") from error
    raise constraint(f"{name}.type", kind, "satisfy enum value set: [END_DATE, ABSOLUTE, DAYS, MONTHS, YEARS]")


def months_later(now: datetime, months: int) -> datetime:
    """Return the same day so many months later, or the last of that month."""
    years, month = divmod(now.month - 1 + months, 12)
    year = now.year + years
    return now.replace(year=year, month=month + 1, day=min(now.day, calendar.monthrange(year, month + 1)[1]))


def constraint(name: str, value: object, what: str) -> RefusedError:
    """Return what AWS answers where a parameter breaks the model of its API."""
    words = f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must {what}"
    return RefusedError("ValidationException", words)


def _end_date(text: str) -> datetime:
    """Read UTCTime (two digits for the year, 50 and later are of the last century) or GeneralizedTime."""
    found = datetime.strptime(text, END_DATES[len(text)]).replace(tzinfo=UTC)
    if len(text) == 12:
        found = found.replace(year=int(text[:2]) + (1900 if int(text[:2]) >= 50 else 2000))
    return found
