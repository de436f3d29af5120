"""The border for files: their parts in, frozen values out."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from agent.clientconfig.render import Passwords, problems, render
from agent.core.files import (
    Access,
    JksFiles,
    PemFiles,
    Pkcs12Files,
    ReaderConfiguration,
    ReaderKind,
    StoreFormat,
    StorePassword,
    format_of,
    holds_key,
)
from agent.core.secret import Secret
from agent.errors import MaterialError
from agent.net.secret import read_password
from agent.settings.files_parts import JksPart, PemPart, Pkcs12Part, ReaderPart, ServerPart
from agent.settings.ground import Ground

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.core.files import Files, StoreFiles
    from agent.settings.files_parts import AccessPart, GuardedPart
    from agent.settings.wording import Location

OPEN_TO_ALL = 0o007
WRITABLE_BY_ALL = 0o002

_PEM_NAMES = ("certificate", "key", "combined", "truststore")


class FilesBorder(Ground):
    """Turns the parts of an identity's files into values and notes mistakes."""

    def all(
        self, at: Location, parts: Sequence[PemPart | Pkcs12Part | JksPart | ReaderPart | ServerPart]
    ) -> tuple[Files, ...]:
        """Return the files in the order of the settings; `at` is where the identity's list stands."""
        made: dict[int, Files] = {}
        stores: list[StoreFiles] = []
        for index, part in self._elements(parts):
            if isinstance(part, PemPart | Pkcs12Part | JksPart):
                made[index] = store = self._stores((*at, index), part)
                stores.append(store)
        for index, part in self._elements(parts):
            if isinstance(part, ReaderPart | ServerPart):
                reader = self._reader((*at, index), part, stores)
                if reader is not None:
                    made[index] = reader
        self._expect_other_names(at, made)
        if parts and not any(map(holds_key, stores)) and self._findings.sound(at):
            self._wrong(at, "hold no private key: write `key`, `combined` or `keystore`")
        return tuple(made[index] for index in sorted(made))

    def _expect_other_names(self, at: Location, made: dict[int, Files]) -> None:
        seen: set[str] = set()
        for index in sorted(made):
            for name in made[index].names():
                if name in seen:
                    self._wrong((*at, index), f"{name!r} is written twice: write another name")
                seen.add(name)

    # --- stores ----------------------------------------------------------------------------

    def _stores(self, at: Location, part: PemPart | Pkcs12Part | JksPart) -> StoreFiles:
        access = self._access(at, part)
        if isinstance(part, PemPart):
            return self._pem(at, part, access)
        if not (part.keystore or part.truststore) and self._findings.sound(at, "keystore", "truststore"):
            self._wrong(at, "names no file: write `keystore` or `truststore`")
        self._check_mode(at, access, secret=part.keystore)
        password = self._password(at, part) or StorePassword(Secret(environment=""))
        names = (part.keystore, part.truststore, part.alias)
        if isinstance(part, JksPart):
            return JksFiles(password, *names, anchor=part.include_anchor, access=access)
        return Pkcs12Files(password, *names, encryption=part.encryption, anchor=part.include_anchor, access=access)

    def _pem(self, at: Location, part: PemPart, access: Access) -> PemFiles:
        if bool(part.certificate) != bool(part.key) and self._findings.sound(at, "certificate", "key"):
            missing = "key" if part.certificate else "certificate"
            self._wrong((*at, missing), "is missing: a certificate and its key come together")
        if not any(getattr(part, name) for name in _PEM_NAMES) and self._findings.sound(at, *_PEM_NAMES):
            self._wrong(at, "names no file: write `certificate` and `key`, `combined` or `truststore`")
        self._check_mode(at, access, secret=part.key or part.combined)
        has_password = part.password_file is not None or part.password_environment is not None
        if has_password and not (part.key or part.combined) and self._findings.sound(at, "key", "combined"):
            self._wrong(at, "has a password and no key that it could encrypt: leave the password out")
        return PemFiles(
            part.certificate,
            part.key,
            part.combined,
            part.truststore,
            password=self._password(at, part) if has_password or part.make_password else None,
            encryption=part.encryption,
            anchor=part.include_anchor,
            access=access,
        )

    def _password(self, at: Location, part: GuardedPart) -> StorePassword | None:
        if not part.make_password:
            secret = self._secret(at, part.password_file, part.password_environment, "password", store=True)
            return None if secret is None else StorePassword(secret)
        if part.password_file is None:
            if self._findings.sound(at, "password_file"):
                self._wrong((*at, "make_password"), "needs a place: write `password_file`")
            return None
        path = self._path(part.password_file)
        if os.path.lexists(path):
            secret = self._secret(at, part.password_file, part.password_environment, "password", store=True)
            return None if secret is None else StorePassword(secret, make=True)
        if not path.parent.is_dir():
            self._wrong((*at, "password_file"), f"there is no folder {path.parent}: make it")
        return StorePassword(Secret(path), make=True)

    def _access(self, at: Location, part: AccessPart) -> Access:
        self._check_known((*at, "owner"), "user", pwd.getpwnam, part.owner)
        self._check_known((*at, "group"), "group", grp.getgrnam, part.group)
        self._check_known((*at, "reader"), "user", pwd.getpwnam, part.reader)
        return Access(part.owner, part.group, part.mode, part.reader)

    def _check_mode(self, at: Location, access: Access, *, secret: str | None) -> None:
        mode = access.mode or 0
        if secret and mode & OPEN_TO_ALL:
            self._wrong((*at, "mode"), f'lets everybody at the secret in {secret}: write "0400" or "0440"')
        elif mode & WRITABLE_BY_ALL:
            self._wrong((*at, "mode"), 'lets everybody change whom this host trusts: write "0444"')

    # --- configurations of readers -----------------------------------------------------------

    def _reader(
        self, at: Location, part: ReaderPart | ServerPart, stores: Sequence[StoreFiles]
    ) -> ReaderConfiguration | None:
        access, name, kind = self._access(at, part), getattr(part, "file", None), getattr(part, "format", None)
        if name is None or kind is None or not self._findings.sound(at):
            return None
        self._check_mode(at, access, secret=name)
        with_key = not isinstance(part, ReaderPart) or part.client_certificate
        keystore = _first(stores, part.stores, holds_key) if with_key else None
        if with_key and keystore is None:
            wanted = "files" if part.stores is None else f"files of the format {part.stores}"
            self._wrong((*at, "stores"), f"names no {wanted} that hold a key: write some beside it")
            return None
        kind = ReaderKind(kind)
        chosen = part.stores or (None if keystore is None else format_of(keystore))
        reader = ReaderConfiguration(
            kind=kind,
            name=name,
            keystore=keystore,
            truststore=_anchors(stores, chosen, kind),
            sasl=part.security_protocol == "SASL_SSL",
            access=access,
        )
        if isinstance(part, ServerPart):
            reader = replace(
                reader,
                listener=part.listener,
                client_auth=part.client_auth,
                protocols=tuple(part.protocols),
                ciphers=tuple(part.ciphers),
            )
        for problem in problems(reader) or self._unwritable(reader):
            self._wrong(at, problem)
        return reader

    def _unwritable(self, reader: ReaderConfiguration) -> tuple[str, ...]:
        """Return why the passwords that are set cannot be written in the reader's syntax; one that is not there can."""
        try:
            passwords = Passwords(read_password(reader.keystore), read_password(reader.truststore))
        except MaterialError:
            return ()  # told where the password is set, or made when it is needed
        try:
            render(reader, PurePath("/"), passwords)
        except MaterialError as error:
            return (error.diagnosis(),)
        return ()


def _anchors(stores: Sequence[StoreFiles], chosen: StoreFormat | None, reader: ReaderKind) -> StoreFiles | None:
    """Return the truststore of the format that the key is in, else of any; librdkafka takes anchors in PEM alone."""
    if reader is ReaderKind.LIBRDKAFKA:
        return _first(stores, StoreFormat.PEM, _holds_anchors)
    return _first(stores, chosen, _holds_anchors) or _first(stores, None, _holds_anchors)


def _holds_anchors(stores: StoreFiles) -> bool:
    return bool(stores.truststore)


def _first(
    stores: Sequence[StoreFiles], wanted: StoreFormat | None, fits: Callable[[StoreFiles], bool]
) -> StoreFiles | None:
    return next((one for one in stores if (wanted is None or format_of(one) is wanted) and fits(one)), None)
