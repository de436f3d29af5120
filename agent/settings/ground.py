"""What all of the border stands on: paths, secrets, and where mistakes go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.command import CommandReload
from agent.core.secret import Secret
from agent.errors import MaterialError
from agent.net.secret import read_secret
from agent.settings.part import Part
from agent.settings.wording import shown, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from agent.settings.kafka_parts import RestartPart
    from agent.settings.model import CommandPart
    from agent.settings.partial import PartType
    from agent.settings.wording import Findings, Location

SHORTEST_PASSWORD = 6
"""Characters; keytool refuses to open a store with fewer."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Ground:
    """What turns parts into values needs of the host: the file's folder, the environment, the findings."""

    def __init__(self, file: Path, environment: Mapping[str, str], findings: Findings) -> None:
        self._file = file
        self._folder = file.parent
        self._environment = environment
        self._findings = findings

    def _secret(
        self, at: Location, file: Path | None, variable: str | None, what: str, *, store: bool = False
    ) -> Secret | None:
        if not self._findings.sound(at, f"{what}_file", f"{what}_environment"):
            return None
        if (file is None) == (variable is None):
            self._wrong(at, f"has not one place of its {what}: write `{what}_file` or `{what}_environment`")
            return None
        key = f"{what}_file" if file is not None else f"{what}_environment"
        secret = Secret(None if file is None else self._path(file), variable)
        try:
            value = read_secret(secret)
        except MaterialError as error:
            self._wrong((*at, key), error.diagnosis())
            return secret
        if store and (len(value) < SHORTEST_PASSWORD or not value.isascii() or not value.isprintable()):
            least = SHORTEST_PASSWORD
            self._wrong(
                (*at, key), f"Java would not open a store with it: write {least} or more printable ASCII characters"
            )
        return secret

    def _check_file(self, at: Location, path: Path) -> None:
        if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113 - raises nothing
            self._wrong(at, f"{path} is no file that can be read: write the path of one")

    def _check_named(
        self, at: Location, kind: str, name: str, known: Collection[str], *, none: str | None = None
    ) -> None:
        """Note a name that is not among those of its kind; `none` is what to do where there are none."""
        if name in known:
            return
        near = suggestion(name, known)
        there = f"there are {', '.join(known)}" if known or none is None else none
        self._wrong(at, f"there is no {kind} {shown(name)}; " + (f"did you mean {near!r}?" if near else there))

    def _command(self, at: Location, part: CommandPart | RestartPart) -> CommandReload:
        import shutil

        argv: Sequence[str] = getattr(part, "argv", ())
        if argv:
            program, path = argv[0], self._environment.get("PATH")
            found = self._path_of(program) if "/" in program else shutil.which(program, path=path)
            if not found or not os.path.isfile(found) or not os.access(found, os.X_OK):  # noqa: PTH113 - raises nothing
                self._wrong((*at, "argv", 0), f"{shown(program)} is no program that can be run: write its path")
        return CommandReload(tuple(argv), self._folder, part.timeout)

    def _elements(self, parts: Sequence[PartType]) -> Iterator[tuple[int, PartType]]:
        """Yield the elements of a list with their places in it, but not one whose kind nobody can tell."""
        return ((index, part) for index, part in enumerate(parts) if isinstance(part, Part))

    def _path(self, path: Path) -> Path:
        return Path(self._path_of(str(path)))

    def _path_of(self, path: str) -> str:
        return os.path.normpath(self._folder / path)

    def _check_known(self, at: Location, kind: str, look_up: Callable[[str], object], name: str | None) -> None:
        try:
            look_up("root" if name is None else name)
        except KeyError:
            self._wrong(at, f"this host knows no {kind} {name!r}: write one that it knows")

    def _wrong(self, location: Location, what: str) -> None:
        self._findings.add(location, what)
