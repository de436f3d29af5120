"""The passwords that a rendered configuration holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.core.files import PemFiles

if TYPE_CHECKING:
    from agent.core.files import StoreFiles


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords by value; None where the format has none.

    That of a keystore in PEM is the password of its encrypted key. A truststore in PEM has none.
    """

    keystore: str | None = field(default=None, repr=False)
    truststore: str | None = field(default=None, repr=False)


def keystore_password(group: StoreFiles, passwords: Passwords) -> str | None:
    """Return the password of a keystore, or of its encrypted key in PEM; None when the key is in the clear.

    Raise `ValueError` when the format needs one and none is given.
    """
    return None if group.password is None else _given(passwords.keystore)


def truststore_password(group: StoreFiles, passwords: Passwords) -> str | None:
    """Return the password of a truststore; None for PEM.

    Raise `ValueError` when the format needs one and none is given.
    """
    return None if isinstance(group, PemFiles) else _given(passwords.truststore)


def _given(password: str | None) -> str:
    if password is None:
        raise ValueError("a store that has a password was given none")
    return password
