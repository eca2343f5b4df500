"""A worker's last message of a run: the totals and location of its record, and its failures."""

from loadgen.measure.checks import Checks
from loadgen.measure.failures import Failures
from loadgen.measure.recorder import Recorder
from loadgen.protocol.base import Service
from loadgen.run.worker.echoes import Echoes
from loadgen.run.worker.spool import OwnSpool
from loadgen.run.worker.status import Probes
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import (
    Broken,
    Check,
    Echo,
    Failure,
    Finished,
    Proxy,
    Undecodable,
    clipped,
    clipped_counts,
)
from loadgen.transport import proxy
from loadgen.transport.poller import is_native, thread_priority


class LastWord:
    """Makes the FINISHED message of one worker."""

    def __init__(
        self,
        service: Service,
        recorder: Recorder,
        spool: OwnSpool,
        readiness: Probes,
        echoes: Echoes,
        troubles: Troubles,
        failures: Failures,
        checks: Checks,
    ) -> None:
        self._service = service
        self._recorder = recorder
        self._spool = spool
        self._readiness = readiness
        self._echoes = echoes
        self._troubles = troubles
        self._failures = failures
        self._checks = checks

    def said(self, left: str | None) -> Finished:
        """Return the FINISHED message; ``left`` is the reason why the worker left the run early, or None."""
        recorder, spool, service = self._recorder, self._spool, self._service
        echo = self._echoes.to_dict()
        return Finished(
            receive_path="native" if is_native() else "python",
            receive_priority=thread_priority(),
            deliveries=recorder.deliveries,
            events=recorder.events,
            foreign=recorder.foreign,
            undecodable=recorder.undecodable.count,
            undecodable_kinds=[Undecodable(**each) for each in recorder.undecodable.to_list()],
            broken_connections=[Broken.of(each) for each in recorder.broken.to_list()],
            unknown_subscription=recorder.unknown_subscription,
            probes=self._readiness.probes,
            probe_deliveries=recorder.probe_deliveries,
            echo=None if echo is None else Echo(**echo),
            deviations=clipped_counts(recorder.deviations),
            asides=clipped_counts(recorder.asides),
            network=clipped_counts(self._troubles.network),
            proxies=[Proxy.of(each) for each in proxy.routes(service.connect_url, service.http_url)],
            failures=[Failure(**each) for each in self._failures.to_list()],
            checks={name: Check(**each) for name, each in self._checks.to_dict().items()},
            gathered_by=spool.gathered_by,
            rows=spool.rows,
            spool_bytes=spool.written_bytes,
            files=spool.totals(),
            stored=spool.stored(),
            unstored=clipped(spool.unstored),
            left=left,
        )
