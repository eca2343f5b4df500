"""The end of a worker's part in a run: drain, close, write and hand over the record."""

from typing import Final, Protocol

import gevent
from gevent.event import Event

from loadgen.measure.recorder import Recorder
from loadgen.run.messages import Link
from loadgen.run.worker.background import Background
from loadgen.run.worker.barriers import Barriers
from loadgen.run.worker.clock import Clock
from loadgen.run.worker.echoes import Echoes
from loadgen.run.worker.flush import Flushes
from loadgen.run.worker.last_word import LastWord
from loadgen.run.worker.master_time import MasterTime
from loadgen.run.worker.spool import PATIENCE_S, OwnSpool
from loadgen.run.worker.status import StatusReports
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker.users import Users

#: At the end of the run, the longest wait (s) until all simulated users have closed their connections.
_CLOSE_S: Final = 10.0


class Stoppable(Protocol):
    """What `Ending` needs of a worker's `Readiness`: a method to stop it."""

    def stop(self) -> None:
        """Stop probing and close the connections."""


class Ending:
    """Ends one worker's part: when the run is over, when the worker leaves early, or when the master's process dies."""

    def __init__(
        self,
        *,
        link: Link,
        clock: Clock,
        time: MasterTime,
        barriers: Barriers,
        users: Users,
        background: Background,
        readiness: Stoppable,
        logins: Stoppable,
        echoes: Echoes,
        recorder: Recorder,
        flushes: Flushes,
        status: StatusReports,
        spool: OwnSpool,
        troubles: Troubles,
        last_word: LastWord,
        worker: int,
    ) -> None:
        self._link = link
        self._clock = clock
        self._time = time
        self._barriers = barriers
        self._users = users
        self._background = background
        self._readiness = readiness
        self._logins = logins
        self._echoes = echoes
        self._recorder = recorder
        self._flushes = flushes
        self._status = status
        self._spool = spool
        self._troubles = troubles
        self._last_word = last_word
        self._worker = worker
        self._patience_s = PATIENCE_S
        #: The reason why this worker left before the end of the run, or None.
        self._left: str | None = None
        #: An event that is set once all the worker's rows are in its spool on disk, and the master has them if it needs
        #: a copy.
        self.finished = Event()

    def begin(self, drain_ns: int) -> None:
        """Start a greenlet that drains, closes connections and hands over the record; a second call does nothing."""
        if not self._barriers.finish():
            return
        self._users.release()
        gevent.spawn(self._finish, drain_ns)

    def leave(self, why: str, patience_s: float) -> None:
        """End this worker's part early; return once its record is handed over, or after ``patience_s`` + 30 seconds.

        ``why`` goes into the manifest. A master that is silent for ``patience_s`` seconds counts as gone.
        """
        self._left, self._patience_s = why, patience_s
        self.begin(drain_ns=0)
        self._clock.wait(self.finished, patience_s + PATIENCE_S)

    def abandon(self) -> None:
        """Write what was recorded so far: the master's process is gone and this one is about to end."""
        self._barriers.finishing = True
        self._flushes.flush()
        self._spool.close()

    def _finish(self, drain_ns: int) -> None:
        self._clock.sleep(drain_ns / 1e9)
        if self._time.apart:
            # The clock offset is known only up to the last ping, so ping once more after the last arrival. The answer
            # comes while the clients close their connections.
            self._time.ping()
        self._barriers.over.set()
        if not self._users.wait_until_gone(_CLOSE_S):
            self._troubles.report_error(
                f"worker {self._worker}: some connections did not close in time", fatal=False
            )
        self._background.end()
        self._readiness.stop()
        self._logins.stop()
        self._recorder.echoes(self._echoes.stop())
        self._flushes.flush()
        self._background.stop()
        self._status.send()
        self._spool.close()
        self._spool.hand_over(self._patience_s)
        self._clock.close()
        self._link.to_coordinator(self._last_word.said(self._left))
        self._spool.remove_what_is_taken()
        self.finished.set()
