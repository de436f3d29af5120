"""What `Load.java` does, with librdkafka: run as a process of its own, with the same arguments and the same report.

`librdkafka_load.py PROPERTIES TOPIC RATE REMAKE PATIENCE`; the properties are one JSON object.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

ERRORS_KEPT = 5

SILENT = logging.getLogger("librdkafka")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


class Load:
    """A producer and a consumer, each in a thread of its own."""

    def __init__(self, properties: Path, topic: str, *, rate: float, remake: float, patience: float) -> None:
        self._properties = properties
        self._topic = topic
        self._period = 1 / rate
        self._remake = remake
        self._patience = patience
        self._sent: set[int] = set()
        self._failed: set[int] = set()
        self._read: dict[int, tuple[int | None, int | None]] = {}
        self._told: dict[str, Any] = {"doubled": 0, "reread": 0, "read_failures": 0, "made": 0, "slowest": 0.0}
        self._errors: list[str] = []
        self.stopping = threading.Event()
        self._produced = threading.Event()
        self._acknowledged = threading.Event()

    def produce(self) -> None:
        """Send numbers until told to stop; a client that ends has flushed all that it was given."""
        number, following = 0, time.monotonic()
        while not self.stopping.is_set():
            try:
                producer = Producer(self._settings(acks="all", **{"enable.idempotence": True}), logger=SILENT)
            except KafkaException as error:
                self._note("producer", error)
                time.sleep(0.1)
                continue
            self._told["made"] += 1
            ends = time.monotonic() + self._remake
            while not self.stopping.is_set() and (not self._remake or time.monotonic() < ends):
                self._send(producer, number)
                number += 1
                following = max(following + self._period, time.monotonic() - 1)
                while (left := following - time.monotonic()) > 0:
                    producer.poll(left)
            producer.flush()
        self._produced.set()

    def consume(self) -> None:
        """Read until all that was acknowledged is there, or is not going to be."""
        while not self._acknowledged.wait(0.05) and not self._produced.is_set():
            pass  # there is no topic yet
        # With an id of its own it takes the place of the one before: a member that could not take its leave, because
        # the broker was down, is waited for otherwise.
        group = {"group.id": self._topic, "group.instance.id": self._topic}
        settings = group | {"auto.offset.reset": "earliest", "enable.auto.commit": False}
        ends_at: float | None = None
        while not self._done(ends_at):
            if self._produced.is_set() and ends_at is None:
                ends_at = time.monotonic() + self._patience
            try:
                self._read_for_a_while(Consumer(self._settings(**settings), logger=SILENT), ends_at)
            except KafkaException as error:
                self._fail_to_read(error)
                time.sleep(0.1)

    def _read_for_a_while(self, consumer: Consumer, ends_at: float | None) -> None:
        """Read until a new client is due, or all is there that was sent."""
        self._told["made"] += 1
        consumer.subscribe([self._topic])
        ends = time.monotonic() + (self._remake or float("inf"))
        try:
            while time.monotonic() < ends and not self._done(ends_at):
                self._count(consumer.poll(0.1))
                if ends_at is None and self._produced.is_set():
                    ends_at = time.monotonic() + self._patience
            consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise
        finally:
            consumer.close()

    def report(self) -> dict[str, Any]:
        """Return what became of the records."""
        counts = {"sent": len(self._sent), "failed": len(self._failed), "read": len(self._read)}
        return counts | self._told | {"lost": len(self._sent - self._read.keys()), "errors": self._errors}

    def _send(self, producer: Producer, number: int) -> None:
        began = time.monotonic()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                self._sent.add(number)
                self._acknowledged.set()
                self._told["slowest"] = max(self._told["slowest"], round(time.monotonic() - began, 3))
            else:
                self._fail(number, error)

        try:
            producer.produce(self._topic, str(number).encode(), on_delivery=delivered)
        except (KafkaException, BufferError) as error:
            self._fail(number, error)

    def _fail(self, number: int, error: object) -> None:
        if not self._failed:
            print("failing", flush=True)  # noqa: T201 - so is this
        self._failed.add(number)
        self._note("send", error)

    def _count(self, message: Message | None) -> None:
        if message is None:
            return
        error = message.error()
        value = message.value()
        if error is not None or value is None:
            self._fail_to_read(error)
            return
        if not self._read:
            print("flowing", flush=True)  # noqa: T201 - who started it waits for it
        place = (message.partition(), message.offset())
        before = self._read.setdefault(int(value), place)
        if before is not place:
            self._told["reread" if before == place else "doubled"] += 1

    def _done(self, ends_at: float | None) -> bool:
        if not self._produced.is_set():
            return False
        return self._sent <= self._read.keys() or (ends_at is not None and time.monotonic() > ends_at)

    def _settings(self, **own: Any) -> dict[str, Any]:
        given: dict[str, Any] = json.loads(self._properties.read_text())
        return own | given

    def _fail_to_read(self, error: object) -> None:
        self._told["read_failures"] += 1
        self._note("consumer", error)

    def _note(self, where: str, error: object) -> None:
        if len(self._errors) < ERRORS_KEPT:
            self._errors.append(f"{where}: {error}")


def main() -> None:
    """Run until standard input ends, then print the report."""
    rate, remake, patience = map(float, sys.argv[3:])
    load = Load(Path(sys.argv[1]), sys.argv[2], rate=rate, remake=remake, patience=patience)
    threads = [threading.Thread(target=load.produce), threading.Thread(target=load.consume)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    load.stopping.set()
    for thread in threads:
        thread.join()
    print(json.dumps(load.report()))  # noqa: T201 - the answer to who started it


if __name__ == "__main__":
    main()
