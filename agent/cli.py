"""The command line: verbs in, exit codes out; errors become exit codes here and nowhere else.

A verb imports what it needs when it is called, so that `--help` and `--version` cost next to nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from agent import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

    from agent.core.configuration import Configuration
    from agent.daemon.agent import About
    from agent.wiring.client import Desk

DONE = 0
FAILED = 1
USAGE = 2
"""What argparse ends with, too."""
BUSY = 75
"""`EX_TEMPFAIL`: another process keeps the same directory; try again later."""
BAD_CONFIGURATION = 78
"""`EX_CONFIG`: the unit file tells systemd not to start again."""
INTERRUPTED = 130

DEFAULT_CONFIGURATION = "/etc/cert-agent/cert-agent.yaml"


def main(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit code; what went wrong is told on standard error."""
    from agent.errors import AgentError, BusyError, ConfigurationError

    options = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            _tell(str(mistake))
        return BAD_CONFIGURATION
    except BusyError as error:
        _tell(error.diagnosis())
        return BUSY
    except AgentError as error:
        _tell(error.diagnosis())
        return FAILED
    except BrokenPipeError:
        # The reader of the output has gone; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cert-agent",
        description="Keeps the TLS identity of a Kafka host fresh, and proves it by handshake.",
        epilog="Exit codes: 0 done, 1 failed, 2 usage, 75 another process keeps the directory, 78 configuration.",
    )
    parser.add_argument("--version", action="version", version=f"cert-agent {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], int], about: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=about, description=about)
        _add_config(sub)
        sub.set_defaults(verb=run)
        return sub

    verb("run", _run, "keep every identity until a signal ends it")
    verb("once", _once, "do what is due now, and exit")
    verb("plan", _plan, "print what `run` would do, and change nothing")
    verb("status", _status, "print how every identity is").add_argument(
        "--json", action="store_true", help="as /status has it"
    )
    renew = verb("renew", _renew, "have a new leaf issued now")
    renew.add_argument("identity", nargs="?", help="which one; may be left out when there is only one")
    renew.add_argument(
        "--discard-edits", action="store_true", help="also write truststores anew that were edited by hand"
    )
    back = verb("rollback", _roll_back, "go back to the generation before, and hold its leaf")
    back.add_argument("identity", nargs="?", help="which one; may be left out when there is only one")
    back.add_argument("--to", type=int, metavar="N", help="the generation to go back to")
    csr = verb("csr", _csr, "print the CSR for those who sign by hand, in PEM")
    csr.add_argument("identity", nargs="?", help="which one; may be left out when there is only one")
    take_in = verb("import", _import, "take in what was signed by hand, proven like any other")
    take_in.add_argument("identity", nargs="?", help="which one; may be left out when there is only one")
    take_in.add_argument("chain", metavar="CHAIN", help="PEM file with the leaf and its intermediates, - for stdin")

    config = verbs.add_parser("config", help="check the configuration, or print its schema")
    about_config = config.add_subparsers(title="verbs", metavar="VERB", required=True)
    check = about_config.add_parser("check", help="name every mistake in the configuration")
    _add_config(check)
    check.add_argument(
        "--connect", action="store_true", help="also ask the CAs whether credentials, rights and CA will do"
    )
    check.set_defaults(verb=_check)
    schema = about_config.add_parser("schema", help="print the JSON Schema of the configuration, for editors")
    schema.set_defaults(verb=_schema)
    _add_ca(verbs)
    _add_store(verbs)
    _add_principal(verbs)
    local = verbs.add_parser("local-ca", help="replace the embedded CA, to try out a CA rotation")
    about_local = local.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, run, about in (
        ("rotate", _rotate, "make a new root; truststores learn it beside the old one"),
        ("retire", _retire, "forget the roots from before the last rotation"),
    ):
        sub = about_local.add_parser(name, help=about, description=about)
        _add_config(sub)
        sub.add_argument("issuer", nargs="?", help="which CA; may be left out when there is only one")
        sub.set_defaults(verb=run)
    sign = verb("sign-ca", _sign_ca, "have Vault sign the CSR of a subordinate CA (root/sign-intermediate)")
    sign.add_argument("csr", metavar="CSR", help="file with the CA's CSR in PEM")
    sign.add_argument("--issuer", help="which issuer; may be left out when there is only one of Vault")
    sign.add_argument("--days", type=int, default=1825, metavar="N", help="how long it lives (default: %(default)s)")
    sign.add_argument("--path-length", type=int, default=0, metavar="N", help="CAs below it (default: %(default)s)")
    return parser


def _add_ca(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "a CA rotation: where it stands, and what people say of it"
    about_ca = verbs.add_parser("ca", help=about, description=about).add_subparsers(
        title="verbs", metavar="VERB", required=True
    )
    every: tuple[str, dict[str, Any]] = ("IDENTITY", {"nargs": "?", "help": "which one; by default all"})
    identity = ("IDENTITY", {"nargs": "?", "help": "which one; may be left out when there is only one"})
    anchor = ("FINGERPRINT", {"help": "SHA-256 in hex, of which 16 digits will do"})
    for name, (noun, how), told in (
        ("status", every, "print where every identity stands, and the commands that answer what it waits for"),
        ("approve", anchor, "let an anchor into the truststores: whoever has its key can mint any principal"),
        ("retire", anchor, "let an anchor leave the truststores, once nothing uses its CA any more"),
        ("confirm", ("PEER", {"help": "as `ca status` calls it"}), "answer for a peer that nobody can look at"),
        ("abort", identity, "have the leaf go back to the CA that it was of before"),
        ("pause", identity, "leave what readers use as it is"),
        ("resume", identity, "end a pause, or an abort"),
    ):
        sub = about_ca.add_parser(name, help=told, description=told)
        _add_config(sub)
        sub.set_defaults(verb=_ca, word=name, force=False, usage=sub.error)
        sub.add_argument("about", metavar=noun, **how)
        if name == "status":
            sub.add_argument("--json", action="store_true", help="one JSON document")
        else:
            sub.add_argument("--by", required=True, metavar="NAME", help="who says so; it is noted and logged")
        if name == "retire":
            sub.add_argument("--force", action="store_true", help="even though a leaf in use is then trusted no more")


def _add_store(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "look into a store, of the agent or not; no configuration is needed"
    store = verbs.add_parser("store", help=about, description=about)
    about_store = store.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, told in (
        ("inspect", "print what a store holds: entries, chains, dates, fingerprints, and what is wrong with it"),
        ("verify", "print only what is wrong with a store or an identity's directory; exit code 1 when something is"),
    ):
        sub = about_store.add_parser(name, help=told, description=told)
        sub.add_argument(
            "path", type=_some, metavar="PATH", help="PEM, PKCS12, JKS, or a directory that the agent keeps"
        )
        sub.add_argument("--json", action="store_true", help="one JSON document")
        password = sub.add_mutually_exclusive_group()
        password.add_argument("--password-file", metavar="FILE", help="file with the store's password")
        password.add_argument("--password-environment", metavar="NAME", help="environment variable that holds it")
        sub.set_defaults(verb=_store, verify=name == "verify")


def _add_principal(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "print which principals a broker makes of names; no configuration is needed"
    sub = verbs.add_parser("principal", help=about, description=about)
    sub.add_argument("--rules", required=True, help="the broker's ssl.principal.mapping.rules")
    sub.add_argument(
        "--builder", metavar="CLASS", default="", help="the broker's principal.builder.class, if it has one"
    )
    sub.add_argument(
        "--certificate", metavar="FILE", action="append", default=[], help="the subject of a certificate, in PEM or DER"
    )
    sub.add_argument("--json", action="store_true", help="one JSON document")
    sub.add_argument("name", nargs="*", metavar="DN", help="a distinguished name, as Java prints it")
    sub.set_defaults(verb=_principal, usage=sub.error)


def _some(text: str) -> str:
    """Return the text; an empty one, as a variable that is not set leaves it, names nothing."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get("CERT_AGENT_CONFIG", DEFAULT_CONFIGURATION),
        help="the configuration (default: $CERT_AGENT_CONFIG, or " + DEFAULT_CONFIGURATION + ")",
    )


# --- verbs ----------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from agent.host.log import configure
    from agent.wiring.service import serve

    configuration = _load(options)
    configure(configuration.log_format)
    return _in_loop(serve(configuration, lambda: _load(options), _about(configuration), os.environ))


def _once(options: argparse.Namespace) -> int:
    return _in_loop(_desk(options).once())


def _renew(options: argparse.Namespace) -> int:
    return _in_loop(_desk(options).renew(options.identity, discard_edits=options.discard_edits))


def _roll_back(options: argparse.Namespace) -> int:
    return _in_loop(_desk(options).roll_back(options.identity, options.to))


def _csr(options: argparse.Namespace) -> int:
    return _in_loop(_desk(options).csr(options.identity))


def _import(options: argparse.Namespace) -> int:
    from agent.wiring.brought import read_chain

    return _in_loop(_desk(options).take_in(options.identity, read_chain(options.chain)))


def _plan(options: argparse.Namespace) -> int:
    return _in_loop(_desk(options).plan())


def _status(options: argparse.Namespace) -> int:
    return _in_loop(_desk(options).status(as_json=options.json))


def _ca(options: argparse.Namespace) -> int:
    from agent.core.instruction import instruction

    if options.word == "status":
        return _in_loop(_desk(options).ca_status(options.about, as_json=options.json))
    try:
        said = instruction(options.word, options.about, options.by, force=options.force)
    except ValueError as error:
        options.usage(str(error))
    return _in_loop(_desk(options).ca(said))


def _check(options: argparse.Namespace) -> int:
    from agent.settings import advise

    configuration = _load(options)
    for advice in advise(configuration):
        _say(f"better: {advice}")
    names = ", ".join(sorted(configuration.identities)) or "none"
    _say(f"{configuration.file} has no mistake; identities: {names}")
    if not options.connect:
        return DONE
    from agent.host.log import configure
    from agent.wiring.examination import connect

    configure(configuration.log_format)
    return _in_loop(connect(configuration, _say))


def _rotate(options: argparse.Namespace) -> int:
    from agent.wiring.local_ca_desk import rotate

    return _told(rotate(_load(options), options.issuer))


def _retire(options: argparse.Namespace) -> int:
    from agent.wiring.local_ca_desk import retire

    return _told(retire(_load(options), options.issuer))


def _sign_ca(options: argparse.Namespace) -> int:
    from datetime import timedelta
    from pathlib import Path

    from agent.wiring.subordinate import sign_ca

    work = sign_ca(
        _load(options, needs_identities=False),
        Path(options.csr),
        options.issuer,
        lifetime=timedelta(days=options.days),
        path_length=options.path_length,
    )
    return _told(work)


def _store(options: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    from agent.core.secret import Secret
    from agent.wiring.store_desk import inspect, verify

    secret = None
    if options.password_file is not None or options.password_environment is not None:
        file = None if options.password_file is None else Path(options.password_file)
        secret = Secret(file, options.password_environment)
    told = (verify if options.verify else inspect)(Path(options.path), secret)
    for line in (json.dumps(told.values, indent=2),) if options.json else told.lines:
        _say(line)
    return DONE if told.sound or not options.verify else FAILED


def _principal(options: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    from agent.core.principal import InvalidRulesError
    from agent.wiring.principal_desk import preview

    if not options.name and not options.certificate:
        options.usage("name a DN or a --certificate")
    try:
        told = preview(options.rules, options.builder, [Path(one) for one in options.certificate], options.name)
    except InvalidRulesError as error:
        _tell(str(error))
        return USAGE
    for remark in told.remarks:
        _tell(remark)
    for line in (json.dumps(told.values, indent=2),) if options.json else told.lines:
        _say(line)
    return DONE


def _schema(_options: argparse.Namespace) -> int:
    import json

    from agent.settings import schema

    _say(json.dumps(schema(), indent=2))
    return DONE


# --- what they share ------------------------------------------------------------------------


def _load(options: argparse.Namespace, *, needs_identities: bool = True) -> Configuration:
    from pathlib import Path

    from agent.settings import load

    return load(Path(options.config), os.environ, os.uname().nodename, needs_identities=needs_identities)


def _desk(options: argparse.Namespace) -> Desk:
    from agent.host.log import configure
    from agent.wiring.client import Desk

    configuration = _load(options)
    configure(configuration.log_format)
    return Desk(configuration, _about(configuration), _say)


def _about(configuration: Configuration) -> About:
    from agent.daemon.agent import About

    return About(__version__, os.uname().nodename, str(configuration.file))


def _in_loop(work: Coroutine[Any, Any, bool]) -> int:
    import asyncio

    return DONE if asyncio.run(work) else FAILED


def _told(work: Coroutine[Any, Any, tuple[str, ...]]) -> int:
    import asyncio

    for line in asyncio.run(work):
        _say(line)
    return DONE


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"cert-agent: {line}\n")
