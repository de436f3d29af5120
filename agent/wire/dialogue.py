"""One connection to a Kafka listener through pyOpenSSL, which tells what Python's `ssl` does not.

Which CAs the listener names as acceptable, whether it asked for a certificate at all, and whether it
has shown that it holds the key of the leaf.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from OpenSSL import SSL, crypto

from agent.errors import MaterialError
from agent.keystores import private_key
from agent.wire.connection import LARGEST_READ

if TYPE_CHECKING:
    import socket
    from types import TracebackType

    from agent.core.credentials import Credentials

LARGEST_DIALOGUE = 1_048_576
"""Bytes that are read of one connection: a handshake with the longest of chains takes a tenth."""

_CLIENT = b"cert-agent"
_CORRELATION = 0x63657274
_API_VERSIONS = struct.pack(f">ihhih{len(_CLIENT)}s", 10 + len(_CLIENT), 18, 0, _CORRELATION, len(_CLIENT), _CLIENT)
"""ApiVersions, version 0: a listener of Kafka answers it before anybody has logged in, and every version knows it."""

_ANSWER = struct.Struct(">ii")
"""What every answer of Kafka begins with: its length and the number of the request."""

# What OpenSSL calls a message that it has dealt with, on its way to the next.
_READ_REQUEST = b"SSLv3/TLS read server certificate request"
_SENT_PROOF_OF_OWN_KEY = b"SSLv3/TLS write certificate verify"
_KEY_EXCHANGE = frozenset({b"SSLv3/TLS read server key exchange", b"SSLv3/TLS write client key exchange"})
"""TLS 1.2: the listener has signed its key exchange, and the client has found that right and gone on."""


class PeerError(OSError):
    """The peer ended the connection, with an alert or without a word."""


class Dialogue:
    """One connection: TLS through memory, the bytes carried over by the loop."""

    def __init__(self, context: SSL.Context, connection: socket.socket, name: str | None) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._received = 0
        self._passed: set[bytes] = set()
        self._is_done = False
        self._tls = SSL.Connection(context, None)
        self._tls.set_app_data(self._passed)
        self._tls.set_connect_state()
        self._name = name

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye (RFC 8446, 6.1) and close; the answer is not waited for.

        What is left to say is tiny and fits into the kernel's buffer, so that nothing waits here.
        """
        with suppress(SSL.Error):
            self._tls.shutdown()
        with suppress(OSError):
            self._socket.send(self._outgoing())
        self._socket.close()

    @property
    def has_shown_key(self) -> bool:
        """Whether the listener has shown that it holds the key of the leaf that it presents.

        One that refuses a client of TLS 1.2 does so before the handshake is over, and has signed the
        key exchange by then. It must have been signed: a key exchange by RSA alone proves the key
        only at the end. In TLS 1.3 such a handshake is over for the client.
        """
        return self._is_done or self._passed >= _KEY_EXCHANGE

    @property
    def has_offered(self) -> bool:
        """Whether the listener has asked for our leaf and got it; none is sent that its algorithms do not fit."""
        return _SENT_PROOF_OF_OWN_KEY in self._passed

    def acceptable(self) -> frozenset[bytes] | None:
        """Return the DER of the names of acceptable CAs as it was received; None where no certificate was asked for.

        A list of none is as good as no question to `SSL_get_client_CA_list`; the messages that came tell.
        """
        names = frozenset(name.der() for name in self._tls.get_client_ca_list())
        return names if names or _READ_REQUEST in self._passed else None

    def leaf(self) -> bytes:
        """Return the DER of the leaf that was presented."""
        certificate = self._tls.get_peer_certificate()
        if certificate is None:
            raise OSError("the listener presented no certificate")
        return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)

    def behind_leaf(self) -> tuple[bytes, ...]:
        """Return the DER of the certificates that came behind the leaf, as they came (RFC 8446, 4.4.2)."""
        chain = self._tls.get_peer_cert_chain() or []
        return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in chain[1:])

    async def shake_hands(self) -> None:
        """Go through the handshake; the last of what is to be said stays back and goes with what comes next."""
        if self._name is not None:
            self._tls.set_tlsext_host_name(self._name.encode("idna"))
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except SSL.WantReadError:
                    await self._exchange()
                else:
                    self._is_done = True
                    return
        except ConnectionError as error:
            raise PeerError(str(error)) from error
        except SSL.Error as error:
            raise _told(error) from None

    async def is_answered(self) -> bool:
        """Ask a question of Kafka's, and return whether what comes is an answer to it."""
        answer = b""
        try:
            self._tls.send(_API_VERSIONS)
            while len(answer) < _ANSWER.size:
                try:
                    answer += self._tls.recv(LARGEST_READ)
                except SSL.WantReadError:
                    await self._exchange()
        except SSL.Error as error:
            raise _told(error) from None
        _, correlation = _ANSWER.unpack_from(answer)
        return bool(correlation == _CORRELATION)

    async def _exchange(self) -> None:
        """Send what TLS has to say, and hand over what comes."""
        if outgoing := self._outgoing():
            await self._loop.sock_sendall(self._socket, outgoing)
        received = await self._loop.sock_recv(self._socket, LARGEST_READ)
        if not received:
            raise PeerError("the listener closed the connection")
        self._received += len(received)
        if self._received > LARGEST_DIALOGUE:
            raise OSError(f"the listener sent more than {LARGEST_DIALOGUE} bytes")
        self._tls.bio_write(received)

    def _outgoing(self) -> bytes:
        try:
            return self._tls.bio_read(LARGEST_READ)
        except SSL.Error:
            return b""


def _told(error: SSL.Error) -> OSError:
    """Return the error of OpenSSL in words; a `PeerError` where the peer ended the connection."""
    if isinstance(error, SSL.ZeroReturnError):
        return PeerError("the listener closed the connection")
    queue = error.args[0] if error.args else ()
    words = queue[-1][-1].lower() if queue else "OpenSSL does not say why"
    return PeerError(words) if " alert " in words else OSError(words)


def showing_context(shown: Credentials | None) -> SSL.Context:
    """Return a context that takes any certificate, for it is a question, not a channel (`handshake` tells more).

    Raise `MaterialError` where `shown` is nothing that can be shown.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.set_info_callback(_note_passed)
    if shown is not None:
        key = private_key.from_der(shown.key)
        try:
            context.use_certificate(shown.leaf.x509)
            context.use_privatekey(key)
            for certificate in shown.chain[1:]:
                context.add_extra_chain_cert(certificate.x509)
        except SSL.Error:
            raise MaterialError("OpenSSL cannot use the certificate and key that the agent shows") from None
    return context


def _note_passed(connection: SSL.Connection, where: int, _result: int) -> None:
    """Note that a message of the handshake was dealt with; called by OpenSSL on its way to the next."""
    if where & SSL.SSL_CB_LOOP:
        passed: set[bytes] = connection.get_app_data()
        passed.add(connection.get_state_string())
