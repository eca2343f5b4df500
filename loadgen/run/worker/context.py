"""The run that a worker plays, its clients, and the service that they connect to."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from loadgen.credentials.allowed import Allowed
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.protocol.base import Service
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import Clients, ResolvedRun
from loadgen.run.echo import EchoPlan, plan_echo
from loadgen.run.master_messages import Begin
from loadgen.run.rows_transfer import ArrivingRows
from loadgen.run.target import Target
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import TransportError
from loadgen.transport.sources import Sources


@dataclass(frozen=True)
class Context:
    """One worker's run, clients and service."""

    run: ResolvedRun
    clients: Clients
    #: The rows of data that publish requests draw from.
    rows: ArrivingRows
    rules: ProtocolRules
    service: Service
    #: The host to which the clients send their credentials.
    host: str
    #: Source of the groups' logins, as the subject of error sentences, such as "the scenario".
    logins_from: str
    #: Opens all sockets of this worker.
    dialer: Dialer
    address: Address

    @classmethod
    def of(
        cls,
        begin: Begin,
        allowed: Allowed,
        login_from: str | None,
        tables: Tables | None,
        on_failed: Callable[[Exception], None],
        on_note: Callable[[str], None],
    ) -> "Context":
        """Return the context of a run that is about to begin.

        ``tables`` are the run's data if this process has them. ``on_failed`` is called when this machine cannot
        connect, ``on_note`` with notes about connecting that users should know.

        Raises:
            RunError: this worker cannot use the target.
            SourceError: this machine does not have a given source address.
        """
        target = Target.from_payload(begin.target, allowed, login_from)
        service = target.service()
        if begin.run.stamps.place.beside:
            service.carry_stamps(begin.run.stamps.place.name)
        dialer = Dialer(
            allow_remote=target.allow_remote,
            sources=Sources.from_environment(),
            offset=begin.worker,
            on_failed=on_failed,
            on_note=on_note,
        )
        rows = ArrivingRows(begin.run, tables)
        return cls(
            run=begin.run,
            clients=Clients(begin.run, rows.tables),
            rows=rows,
            rules=target.protocol.rules,
            service=service,
            host=target.endpoints().host,
            logins_from=login_from or "the scenario",
            dialer=dialer,
            address=_address(service, dialer, begin.run.tls_resumption),
        )

    def echo_plan(self, begin: Begin) -> EchoPlan | None:
        """Return the settings of this worker's echo client (see `run.echo`), or None if the run has no echoes."""
        if begin.echo_ns is None:
            return None
        return plan_echo(
            self.run, self.clients, self.rules, begin.echo_ns, begin.token, begin.worker, begin.workers
        )


def _address(service: Service, dialer: Dialer, tls_resumption: bool) -> Address:
    """Return the service's address; raises RunError if it cannot be used."""
    try:
        return Address(service.connect_url, replace(service.tls, resumption=tls_resumption), dialer)
    except TransportError as error:
        raise RunError(str(error), ExitCode.USAGE) from None
