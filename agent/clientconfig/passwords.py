"""The passwords that a rendered configuration holds, and whether it holds any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.core.files import PemFiles

if TYPE_CHECKING:
    from agent.core.files import ReaderConfiguration, StoreFiles


@dataclass(frozen=True, slots=True)
class Passwords:
    """The passwords by value; None where the format has none.

    That of a keystore in PEM is the password of its encrypted key. A truststore in PEM has none.
    """

    keystore: str | None = field(default=None, repr=False)
    truststore: str | None = field(default=None, repr=False)


def holds_password(wanted: ReaderConfiguration) -> bool:
    """Return whether the rendered file holds a password, so that nobody but its reader may see it."""
    return _keystore_has_one(wanted.keystore) or _truststore_has_one(wanted.truststore)


def keystore_password(group: StoreFiles, passwords: Passwords) -> str | None:
    """Return the password of a keystore, or of its encrypted key in PEM; None when the key is in the clear.

    Raise `ValueError` when the format needs one and none is given.
    """
    return _given(passwords.keystore) if _keystore_has_one(group) else None


def truststore_password(group: StoreFiles, passwords: Passwords) -> str | None:
    """Return the password of a truststore; None for PEM.

    Raise `ValueError` when the format needs one and none is given.
    """
    return _given(passwords.truststore) if _truststore_has_one(group) else None


def _keystore_has_one(group: StoreFiles | None) -> bool:
    return group is not None and group.password is not None


def _truststore_has_one(group: StoreFiles | None) -> bool:
    return group is not None and not isinstance(group, PemFiles)


def _given(password: str | None) -> str:
    if password is None:
        raise ValueError("a store that has a password was given none")
    return password
