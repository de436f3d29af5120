"""Why a reader cannot be pointed at the files that it would be pointed at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.files import ClientAuth, JksFiles, PemFiles, ReaderKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.files import ReaderConfiguration, StoreFiles


def problems(wanted: ReaderConfiguration) -> tuple[str, ...]:
    """Return all reasons why the configuration could not be rendered, or would not work; none when it can."""
    return tuple(_problems(wanted))


def _problems(wanted: ReaderConfiguration) -> Iterator[str]:
    librdkafka = wanted.kind is ReaderKind.LIBRDKAFKA
    if wanted.keystore is None and wanted.truststore is None:
        yield "it names neither a keystore nor a truststore, so there is nothing to point at"
    if wanted.keystore is not None:
        yield from _of_librdkafkas_keystore(wanted.keystore) if librdkafka else _of_javas_keystore(wanted.keystore)
    if wanted.truststore is not None:
        if librdkafka and not isinstance(wanted.truststore, PemFiles):
            yield "librdkafka takes anchors only from PEM: name a group in PEM for its truststore"
        elif wanted.truststore.truststore is None:
            yield "the group of its truststore names no `truststore`"
    if wanted.kind is ReaderKind.SERVER_PROPERTIES:
        yield from _of_listener(wanted)
    elif wanted.listener is not None or wanted.protocols or wanted.ciphers:
        yield "a listener, its protocols and its ciphers are a broker's: only `server_properties` takes them"


def _of_javas_keystore(group: StoreFiles) -> Iterator[str]:
    if isinstance(group, PemFiles):
        if group.combined is None:
            yield (
                "Kafka's Java side reads key and chain in PEM from one file, since ssl.keystore.key takes the text "
                "of a key and no path: name a `combined` file in the group of its keystore"
            )
    elif group.keystore is None:
        yield "the group of its keystore names no `keystore`"


def _of_librdkafkas_keystore(group: StoreFiles) -> Iterator[str]:
    if isinstance(group, JksFiles):
        yield "librdkafka reads no JKS: name a group in PEM or PKCS12 for its keystore"
    elif isinstance(group, PemFiles):
        if group.combined is None and (group.certificate is None or group.key is None):
            yield "librdkafka needs both chain and key: name a `combined` file, or `certificate` and `key`"
    elif group.keystore is None:
        yield "the group of its keystore names no `keystore`"


def _of_listener(wanted: ReaderConfiguration) -> Iterator[str]:
    if wanted.keystore is None:
        yield "a broker's listener needs a key and a chain: name a keystore"
    if wanted.client_auth is not ClientAuth.NONE and wanted.truststore is None:
        yield (
            "a listener that asks for client certificates and has no truststore lets in whoever has one of a public "
            "CA: name a truststore, or `client_auth: none`"
        )
