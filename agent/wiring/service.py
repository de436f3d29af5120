"""The long-running agent: signals, locks, sockets and the keepers, from start to stop."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from agent.daemon.agent import HEARTBEAT, Agent
from agent.errors import AgentError, ConfigurationError
from agent.host.sd_notify import SdNotifier, watchdog_interval
from agent.settings import unsafe_folders
from agent.wiring.adapters import Adapters, close
from agent.wiring.clock import utc_now
from agent.wiring.locks import Locks
from agent.wiring.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from agent.core.configuration import Configuration
    from agent.daemon.agent import About


async def serve(
    configuration: Configuration,
    load: Callable[[], Configuration],
    about: About,
    environment: Mapping[str, str],
) -> bool:
    """Keep what is configured until a signal ends it; `load` reads the configuration again at SIGHUP.

    Raise `AgentError` when the agent cannot start.
    """
    allow_many_files()
    share_the_interpreter()
    await Service(configuration, load, about, utc_now, environment).run()
    return True


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: each identity holds a lock, and some have listeners."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


THREADS = 4
"""For blocking work: enough that a disk that hangs for one identity holds up no other, few enough that a fleet's
renewals do not fight over the interpreter."""

SWITCH = 0.02
"""Seconds that a thread may keep the interpreter while others wait; Python's 5 ms are spent on handing it over."""


def share_the_interpreter() -> None:
    """Set how many threads do blocking work, and how often they take turns."""
    sys.setswitchinterval(SWITCH)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="blocking"))


TENDED_EVERY = timedelta(minutes=1)
"""The longest time between two looks at the logins: an identity may have logged in since the last."""

SOON = timedelta(seconds=1)
"""The shortest."""


class Service:
    """One agent process: keeps what is configured until a signal ends it."""

    def __init__(
        self,
        configuration: Configuration,
        load: Callable[[], Configuration],
        about: About,
        clock: Callable[[], datetime],
        environment: Mapping[str, str],
    ) -> None:
        self._configuration = configuration
        self._load = load
        self._clock = clock
        self._log = structlog.get_logger()
        self._notifier = SdNotifier(environment)
        watchdog = watchdog_interval(environment)
        self._agent = Agent(about, clock, self._notifier, min(HEARTBEAT, watchdog / 2) if watchdog else HEARTBEAT)
        self._adapters = Adapters(configuration, clock)
        self._locks = Locks()
        self._stop = asyncio.Event()
        self._read_again = asyncio.Event()
        self._paths_changed = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT; raise `AgentError` when it cannot start."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._read_again.set)
        identities = self._configuration.identities
        for sentence in await asyncio.to_thread(unsafe_folders, self._configuration):
            self._log.warning(sentence)
        await self._locks.take(wanted.directory for wanted in identities.values())
        try:
            async with AsyncExitStack() as stack:
                await self._listen(stack)
                await self._keep()
        finally:
            await self._adapters.close()
            self._locks.release()
        self._log.info("stopped; the files stay as they are")

    async def _keep(self) -> None:
        keepers = [self._adapters.keeper(wanted) for wanted in self._configuration.identities.values()]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._agent.run(keepers, self._stop), name="agent")
            helpers = (
                group.create_task(self._read_on_demand(), name="configuration"),
                group.create_task(self._watch_anchors(), name="anchors"),
                group.create_task(self._tend_issuers(), name="logins"),
            )
            self._notifier.ready(f"keeps {len(keepers)} identities")
            await self._stop.wait()
            self._notifier.stopping()
            for helper in helpers:
                helper.cancel()

    async def _listen(self, stack: AsyncExitStack) -> None:
        """Open the admin socket and the HTTP endpoint, before anything is touched: an address may be taken."""
        from agent.host.peer import Gate
        from agent.web.admin import AdminServer
        from agent.web.server import WebServer

        http = self._configuration.http
        verbs = Verbs(lambda: self._agent.keepers, self._agent.status)
        if http.admin_socket is not None:
            await stack.enter_async_context(AdminServer(http.admin_socket, Gate(http.admin_group), verbs))
        server = await stack.enter_async_context(WebServer(http, self._agent.status))
        self._log.info(f"open {server.url}status, {server.url}readyz?verbose or {server.url}metrics")

    # --- the configuration, read again ------------------------------------------------------

    async def _read_on_demand(self) -> None:
        """Read the configuration again at each SIGHUP, and keep the old one if the new is bad."""
        while True:
            await self._read_again.wait()
            self._read_again.clear()
            try:
                await self._take_over(await asyncio.to_thread(self._load))
            except ConfigurationError as error:
                for mistake in error.mistakes:
                    self._log.error(str(mistake))
                self._log.error("the configuration is kept as it was", advice="mend the file and send SIGHUP again")
            except AgentError as error:
                self._log.error(error.what, advice=error.advice)
                self._log.error("the configuration is kept as it was")

    async def _take_over(self, configuration: Configuration) -> None:
        """Keep what has not changed running; stop, start or restart the rest."""
        before, after = self._adapters, Adapters(configuration, self._clock)
        old, new = before.configuration.identities, configuration.identities
        same = {name for name in old.keys() & new.keys() if _same(before, after, name)}
        await self._locks.take(wanted.directory for wanted in new.values())
        left = after.succeed(before)
        for name in old.keys() - same:
            await self._agent.drop(name)
        for name in sorted(new.keys() - same):
            self._agent.add(after.keeper(new[name]))
        self._adapters = after
        await close(left)
        self._locks.keep_only(wanted.directory for wanted in new.values())
        self._paths_changed.set()
        if configuration.http != self._configuration.http or configuration.log_format != self._configuration.log_format:
            self._log.warning("changes of `http` and `log` take effect at the next start")
        self._log.info(
            "the configuration is read again",
            unchanged=_names(same),
            started_anew=_names(new.keys() & old.keys() - same),
            added=_names(new.keys() - old.keys()),
            dropped=_names(old.keys() - new.keys()),
        )
        self._agent.wake()

    # --- logins ----------------------------------------------------------------------------

    async def _tend_issuers(self) -> None:
        """Keep the logins at the CAs alive, also while no identity is due."""
        while True:
            wish = await self._adapters.tend()
            pause = TENDED_EVERY if wish is None else max(SOON, min(wish, TENDED_EVERY))
            await asyncio.sleep(pause.total_seconds())

    # --- anchors in files -------------------------------------------------------------------

    async def _watch_anchors(self) -> None:
        """Wake the keepers when a file of trust anchors changes; with no such file nothing is watched."""
        while True:
            self._paths_changed.clear()
            paths = self._adapters.watched(self._adapters.configuration.identities.values())
            if not paths:
                await self._paths_changed.wait()
                continue
            from agent.trust.watch import watch

            watching = asyncio.create_task(watch(paths, self._agent.wake), name="watching files")
            changed = asyncio.create_task(self._paths_changed.wait(), name="other paths to watch")
            try:
                await asyncio.wait([watching, changed], return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
            finally:
                for task in (watching, changed):
                    task.cancel()
                await asyncio.wait([watching, changed])


def _same(before: Adapters, after: Adapters, name: str) -> bool:
    """Whether an identity is configured as it was, with every issuer that it refers to."""
    wanted = after.configuration.identities[name]
    return before.configuration.identities[name] == wanted and before.specs(wanted) == after.specs(wanted)


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
