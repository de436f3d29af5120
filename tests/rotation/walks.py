"""Walks through the model: moves drawn at random, likely ones more often, and what is left of one that went wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from agent.core.testimony import Question
from tests.rotation.people import Scene

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.rotation.model import Rules, Shape


@dataclass(frozen=True)
class Move:
    """One thing that happens: a method of the scene, and what it is given."""

    what: str
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as a line of Python."""
        given = [*map(str, self.args), *(f"{key}={value}" for key, value in self.named.items())]
        return f"{self.what}({', '.join(given)})"


Walk: TypeAlias = "tuple[Move, ...]"

MINUTES = (1, 5, 14, 16, 60, 11 * 60, 23 * 60 + 44, 24 * 60)
"""Steps of time, about the bounds that matter: what is fresh, and a soak with and without that."""


def draw(luck: random.Random, names: Sequence[str]) -> Move:
    """Draw what happens next."""
    name, other, ca, that = luck.choice(names), luck.choice(names), luck.choice("abc"), luck.choice("abc")

    def may(weight: float, what: str, *args: Any, **named: Any) -> None:
        moves.append(Move(what, args, named))
        weights.append(weight)

    moves: list[Move] = []
    weights: list[float] = []
    may(12, "look", name)
    may(5, "report", name)
    may(8, "deliver", luck.randrange(8), name)
    may(28, "cycle", name, crash=luck.choice((0, 0, 0, 0, 0, 0, 1, 2)))
    may(10, "together")
    may(3, "tell")
    may(12, "advance", luck.choice(MINUTES))
    may(5, "restart", name)
    may(3, "everywhere", "restart")
    may(1, "crash", name)
    may(1, "cut_off", name)
    may(1, "cut_off_issuer", name)
    may(2, "add", name, ca, asks=luck.random() < 0.2)
    may(2, "everywhere", "add", ca)
    may(1, "approve", name, ca)
    may(2, "remove", name, ca)
    may(2, "everywhere", "remove", ca)
    may(1, "silence", name)
    may(2, "flip", ca)
    may(0.3, "delete", ca)
    may(8, "answer", name)
    may(4, "everywhere", "answer")
    may(4, "confirm", name, other, luck.choice(list(Question)), ca)
    may(0.5, "edit", name, drop=ca, add=luck.choice(("", that)))
    may(1, "discard", name)
    may(1, "pause", name)
    may(1, "abort", name)
    may(1, "resume", name)
    may(2, "retire", name, ca)
    may(3, "everywhere", "retire", ca)
    may(0.1, "force", name, ca)
    return luck.choices(moves, weights)[0]


class Story:
    """A rotation from one CA to another about as it is meant to go, each agent at its own pace, and what crosses it."""

    def __init__(self, luck: random.Random, names: Sequence[str], before: str, after: str) -> None:
        """Draw how eager the hosts are."""
        self.luck, self.names, self.before, self.after = luck, names, before, after
        self.eagerness = luck.choice((0.7, 0.95, 1))

    def each(self, what: str, *args: Any) -> list[Move]:
        """Have most hosts do the same."""
        names = [name for name in self.names if self.luck.random() < self.eagerness]
        self.luck.shuffle(names)
        return [Move(what, (name, *args)) for name in names]

    def turns(self) -> list[Move]:
        """Have most agents look and take a step or two, while time may pass between."""
        looks = [Move("tell"), *self.each("look"), *self.each("answer")]
        pause = [Move("advance", (self.luck.choice(MINUTES[:4]),))] if self.luck.random() < HALF else []
        return [*looks, *self.each("cycle"), *pause, *self.each("cycle")]

    def trusted(self) -> list[Move]:
        """Have the new anchor everywhere, and the issuer give leaves of it, for which nobody may be ready yet."""
        return [*self.each("add", self.after), *self.turns(), *self.each("restart"), *self.turns()]

    def reissued(self) -> list[Move]:
        """Have the leaves follow."""
        flip = [Move("flip", (self.after,)), *self.turns(), Move("advance", (16,)), *self.turns()]
        return [*flip, *self.each("restart"), *self.turns()]

    def retired(self) -> list[Move]:
        """Have the old anchor go."""
        asked = [*self.each("remove", self.before), *self.each("retire", self.before), *self.turns(), *self.turns()]
        return [*asked, Move("advance", (self.luck.choice(MINUTES[-2:]),)), *self.turns(), *self.turns()]

    def meant(self) -> list[Move]:
        """Return it as it is meant to go."""
        return [*self.trusted(), *self.reissued(), *self.retired(), *self.each("restart")]

    def crossed(self) -> list[Move]:
        """Return it with somebody who thinks better of it, be it at the worst of moments."""
        name = self.luck.choice(self.names)
        story, end = self.meant(), [Move("resume", (name,)), Move("flip", (self.after,))]
        at = self.luck.randrange(len(story) // 3, len(story))
        changes = (Move("abort", (name,)), Move("everywhere", ("abort",)), Move("flip", (self.before,)))
        return [*story[:at], self.luck.choice(changes), *self.turns(), *self.turns(), *story[at:], *end]

    def late(self) -> list[Move]:
        """Return it with one who goes back about when the soak is over, and of whom the others have not heard since."""
        name = self.luck.choice(self.names)
        others = [one for one in self.names if one != name]
        story = [*self.trusted(), *self.reissued(), *self.each("remove", self.before), *self.turns()]
        story += [Move("advance", (self.luck.choice(MINUTES),)), *self.turns()]
        change = self.luck.choice((Move("abort", (name,)), Move("abort", (name,)), Move("flip", (self.before,))))
        story += [Move("tell"), *self.each("look"), change, Move("cycle", (name,)), *self.wait()]
        story += [Move("look", (name,)), Move("cycle", (name,)), Move("restart", (name,)), *self.wait()]
        for one in others:
            story += [Move("retire", (one, self.before)), Move("look", (one,)), Move("cycle", (one,))]
        return [*story, *self.turns(), *self.turns(), Move("resume", (name,)), Move("flip", (self.after,))]

    def wait(self) -> list[Move]:
        """Return a while that passes, or none."""
        return [Move("advance", (self.luck.choice(MINUTES),))] if self.luck.random() < HALF else []

    def stuck(self) -> list[Move]:
        """Return it with one who is given no leaf of the new CA."""
        cut = Move("cut_off_issuer", (self.luck.choice(self.names),))
        return [*self.trusted(), cut, *self.reissued(), *self.retired(), cut]

    def unsaid(self) -> list[Move]:
        """Return it with hosts that take the new anchor back while others are about to use it."""
        name = self.luck.choice(self.names)
        others = [one for one in self.names if one != name]
        story = [*self.trusted(), *[Move("pause", (one,)) for one in others], Move("flip", (self.after,))]
        story += [Move("remove", (name, self.after)), Move("retire", (name, self.after)), *self.turns()]
        story += [Move("advance", (24 * 60,)), *self.turns(), *[Move("pause", (one,)) for one in others]]
        return [*story, *self.each("cycle"), *self.turns(), *self.meant()]

    def edited(self) -> list[Move]:
        """Return it with a person who edits a truststore."""
        name, at_random = self.luck.choice(self.names), self.luck.choice
        edit = Move("edit", (name,), {"drop": at_random("abc"), "add": at_random(("", *"abc"))})
        story = self.meant()
        at = self.luck.randrange(len(story))
        return [*story[:at], edit, *story[at:], Move("discard", (name,))]

    def bare(self) -> list[Move]:
        """Return it with a host whose sources come to hold nothing that may be trusted."""
        name = self.luck.choice(self.names)
        away = [Move("remove", (name, ca)) for ca in "abc"]
        return [*self.trusted(), *away, Move("add", (name, self.after), {"asks": True}), *self.meant()]


HALF = 0.5


WAYS = ("meant", "crossed", "late", "unsaid", "stuck", "edited", "bare")


def wandering(luck: random.Random, names: Sequence[str], steps: int, ways: Sequence[str]) -> list[Move]:
    """Return rotations, one after the other, into which anything else may come."""
    noise = luck.choice((0.05, 0.2, 0.5))
    walk: list[Move] = []
    story: list[Move] = []
    at = "a"
    while len(walk) < steps:
        if not story:
            after = luck.choice("abc".replace(at, ""))
            story, at = getattr(Story(luck, names, at, after), luck.choice(ways))(), after
        if luck.random() < noise:
            walk.append(draw(luck, names))
        else:
            walk.append(story.pop(0))
    return walk


def follow(shape: Shape, rules: Rules, walk: Sequence[Move]) -> tuple[str, Walk]:
    """Go a walk; return what went wrong, empty if nothing did, and the walk up to there."""
    scene = Scene(shape, rules)
    for done, move in enumerate(walk, 1):
        getattr(scene, move.what)(*move.args, **move.named)
        trouble = scene.violation()
        if trouble:
            return trouble, tuple(walk[:done])
    return "", tuple(walk)


def wander(shape: Shape, rules: Rules, seed: int, steps: int, ways: Sequence[str] = WAYS) -> tuple[str, Walk]:
    """Go a walk of drawn moves; return what went wrong, empty if nothing did, and the walk up to there."""
    luck = random.Random(seed)  # noqa: S311 - the same walk each time
    names = list(Scene(shape, rules).hosts)
    return follow(shape, rules, wandering(luck, names, steps, ways))


def shorten(shape: Shape, rules: Rules, walk: Walk) -> tuple[str, Walk]:
    """Leave out of a walk that goes wrong all that it goes wrong without."""
    trouble, walk = follow(shape, rules, walk)
    size = len(walk) // 2
    while size:
        at = 0
        while at < len(walk):
            fewer = follow(shape, rules, walk[:at] + walk[at + size :])
            if fewer[0]:
                trouble, walk = fewer
            else:
                at += size
        size //= 2
    return trouble, walk
