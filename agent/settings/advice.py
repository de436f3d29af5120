"""What is no mistake, and could be better."""

from __future__ import annotations

import stat
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.configuration import IssuerAnchors
from agent.core.files import ReaderConfiguration
from agent.core.identity import Usage
from agent.core.issuer_spec import LocalCaSpec, VaultSpec
from agent.core.kafka_spec import NodeRole
from agent.core.schedule import EMERGENCY
from agent.core.secret import Secret
from agent.core.testimony import FRESH
from agent.settings.file_advice import of_folders, of_formats, of_readers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.configuration import Configuration, Wanted
    from agent.core.issuer_spec import VaultLogin
    from agent.core.kafka_spec import Cluster

SHORTEST_SOAK = 4 * FRESH
SHORT = timedelta(hours=1)
LONG = timedelta(days=398)


def advise(configuration: Configuration) -> tuple[str, ...]:
    """Return a sentence for each thing that works and could be better, the key's path before it.

    It looks at the modes of the files that hold secrets, and reads none of them.
    """
    issuers = [
        f"issuers.{name}: {sentence}"
        for name, spec in configuration.issuers.items()
        if isinstance(spec, VaultSpec)
        for sentence in _of_login(spec.login)
    ]
    clusters = [
        f"clusters.{name}: {sentence}"
        for name, cluster in configuration.clusters.items()
        for sentence in _of_cluster(cluster)
    ]
    identities = [
        f"identities.{name}: {sentence}"
        for name, wanted in configuration.identities.items()
        for sentence in (
            *_of_identity(wanted, configuration),
            *_of_renewal(wanted),
            *_of_principal(wanted),
            *_of_broker(wanted),
            *_of_rotation(wanted),
            *of_formats(wanted),
            *of_readers(wanted),
            *of_folders([wanted.directory]),
            *_of_passwords(wanted),
        )
    ]
    return (*issuers, *clusters, *identities)


def unsafe_folders(configuration: Configuration) -> tuple[str, ...]:
    """Return a sentence for each folder above an identity's files in which others may put files of their own."""
    return tuple(of_folders(wanted.directory for wanted in configuration.identities.values()))


def _of_identity(wanted: Wanted, configuration: Configuration) -> Iterator[str]:
    request = wanted.request
    if not request.sans and Usage.SERVER in request.usages:
        yield "a leaf without SANs passes no check of host names; add `sans`"
    if wanted.prove and Usage.SERVER in request.usages and not wanted.reload:
        yield "a listener is to be proven and nothing tells it of new files; add `reload`, unless it watches them"
    if wanted.proven_at and Usage.SERVER not in request.usages:
        yield "a listener is to be proven, and clients refuse it a leaf without the usage `server`; add it to `usages`"
    if wanted.reload and not wanted.proven_at:
        yield "nothing proves that a reload succeeded; add `prove`"
    if request.lifetime < SHORT:
        yield "a life of less than an hour leaves little time to mend a CA that is down"
    if request.lifetime > LONG:
        yield "a life of more than 398 days is long for a key that is renewed by itself"
    if wanted.reuse_key:
        yield "a reused key is as old as its first leaf; leave `key.reuse` out unless something pins it"
    if isinstance(configuration.issuers[wanted.issuer], LocalCaSpec):
        yield "the embedded CA keeps its keys on this host; use Vault or AWS Private CA where hosts trust one another"


def _of_renewal(wanted: Wanted) -> Iterator[str]:
    if wanted.revoke and not wanted.proven_at:
        yield "nothing proves a renewal, so that nothing is ever revoked; add `prove`"
    renewal, lifetime = wanted.renewal, wanted.request.lifetime
    late = renewal.at is not None and renewal.at > 1 - EMERGENCY
    if late or (renewal.before is not None and renewal.before < lifetime * EMERGENCY):
        yield "it is renewed only in the last twentieth of its life, where each failure is an emergency; renew earlier"


def _of_principal(wanted: Wanted) -> Iterator[str]:
    if wanted.principal.rules is not None:
        from agent.core.principal import Rules

        for doubt in Rules.parse(wanted.principal.rules).doubts:
            yield f"{doubt}: whether another subject keeps the principal cannot be told"


def _of_broker(wanted: Wanted) -> Iterator[str]:
    broker = wanted.broker
    if broker is None:
        return
    if not broker.preflight and broker.role is NodeRole.BROKER:
        yield "with `preflight: false` a store that Kafka refuses is found only after the switch; leave it out"
    for listener in broker.listeners:
        if listener.keystore is None:
            yield f"{listener.name} reads no keystore of this identity, so no renewal reaches it; add `keystore`"
        if listener.truststore is None and wanted.has_truststores:
            yield f"{listener.name} reads no truststore of this identity, so no new CA reaches it; add `truststore`"


def _of_rotation(wanted: Wanted) -> Iterator[str]:
    if wanted.has_truststores and wanted.rotation.peers is None:
        yield "whom a new CA would shut out is not known; write `rotation.peers`: who meets it unseen, or [] for nobody"
    if wanted.rotation.soak < SHORTEST_SOAK:
        yield "with a soak of less than an hour an anchor may go that a host was about to need again; give it a day"
    sources = wanted.peer_trust
    named = {one.issuer for one in sources if isinstance(one, IssuerAnchors)}
    if wanted.failover is not None and wanted.failover not in named and len(named) == len(set(sources)):
        yield f"no peer is said to trust {wanted.failover}, so that nothing fails over to it; add it to `peer_trust`"


def _of_cluster(cluster: Cluster) -> Iterator[str]:
    if not cluster.protocol.is_tls:
        yield f"with {cluster.protocol.lower()} nobody can tell who answers; take a listener with TLS"
    elif not cluster.verify_host_name:
        yield "with `verify_host_name: false` any host with a leaf of the CA passes for a broker; leave it out"
    secrets = (cluster.sasl.password if cluster.sasl else None, Secret(cluster.files.key) if cluster.files else None)
    for secret in secrets:
        if secret is not None:
            yield from _of_secret(secret)


def _of_passwords(wanted: Wanted) -> Iterator[str]:
    stores = (one for one in wanted.files if not isinstance(one, ReaderConfiguration))
    for password in dict.fromkeys(one.password for one in stores if one.password is not None):
        yield from _of_secret(password.secret)


def _of_login(login: VaultLogin) -> Iterator[str]:
    for secret in (getattr(login, name, None) for name in ("token", "secret_id", "password")):
        if secret is not None:
            yield from _of_secret(secret)


def _of_secret(secret: Secret) -> Iterator[str]:
    if secret.file is None:
        return
    try:
        mode = stat.S_IMODE(secret.file.stat().st_mode)
    except OSError:
        return  # it was there when the settings were read; whoever needs it next tells that it is gone
    if mode & stat.S_IRWXO:
        yield f"the mode of {secret.file} is {mode:04o}, which keeps nobody on this host from it; make it 0400"
