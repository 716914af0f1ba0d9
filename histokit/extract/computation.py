"""The part of an extraction that runs networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from histokit.errors import StoreError
from histokit.extract.claimed_work import Work
from histokit.extract.claims import Claims
from histokit.extract.image_feed import run_workers
from histokit.extract.ledger import BackboneLedger
from histokit.extract.ledger_opening import ExtractionContext, LedgerOpener
from histokit.extract.rates import remember_rates
from histokit.extract.worker import NetworkWorker
from histokit.extract.writer import Writer
from histokit.networks.compiling import NotCompiledError
from histokit.networks.devices import DTYPES, choose_device, emulation
from histokit.networks.memory import capped
from histokit.reading.chunks import ChunkReader
from histokit.reading.ingested_files import open_files
from histokit.store.allocator import kept_memory


def compute(
    context: ExtractionContext,
    ledgers: list[BackboneLedger],
    openings: Sequence[LedgerOpener],
    progress: Callable[..., None],
) -> list[str]:
    """Fill the open tables, and return what is to be known of that.

    Parameters
    ----------
    context : ExtractionContext
    ledgers : list of BackboneLedger
        One that cannot be compiled is replaced by that of the network as it is.
    openings : sequence of LedgerOpener
        Of each.
    progress : callable
    """
    store, record, options = context.store, context.record, context.options
    for ledger in ledgers:
        ledger.check_code()
    store.ingested(record, "samples").verify()
    ingested = open_files(store, record)
    device = choose_device(options.runs_on)
    notes = emulation(device, DTYPES[options.precision])
    slow = "; ".join(notes)
    writer = Writer(store, record.name)
    rows = capped(options.batch_size, record, notes)

    def start(ledger: BackboneLedger) -> NetworkWorker:
        return NetworkWorker(ledger, record.channels, device, options.precision, rows, writer)

    def told(done: int, total: int, detail: str = "") -> None:
        # What slows it down is told while it can still be ended.
        progress(done, total, detail or slow)

    claims = Claims(store.uri)
    work = Work(context.samples, [ledger for ledger in ledgers if ledger.open_tables], claims)
    reader = ChunkReader(ingested, options.workers, device.type != "cpu", lambda: work.left)
    try:
        reader.begin()
        networks = _started(ledgers, openings, start, notes)
        working = [network.ledger for network in networks]
        notes += [note for ledger in working for note in ledger.mixed_on(device.type)]
        work = Work(context.samples, working, claims)
        context.samples.settle()
        _attend(working, claims)
        with kept_memory():
            read = run_workers(reader, work, networks, writer, told)
    finally:
        reader.close()
        try:
            writer.close()
        finally:
            claims.close()
    remember_rates(store, working, options.runs_on, device.type, options.precision)
    notes += [f"{n.plan.backbone.name}: {note}" for n in networks for note in n.notes]
    return notes + claims.notes + read


def _attend(ledgers: Sequence[BackboneLedger], claims: Claims) -> None:
    """Raise where another process replaces a table that is to be filled, or fills one that is to be replaced."""
    for table in (table.plan for ledger in ledgers for table in ledger.open_tables):
        if not claims.attend(table.name, alone=table.anew):
            what = "fills" if table.anew else "computes all of"
            raise StoreError(
                f"Another process {what} {table.address} of the dataset {table.dataset!r}.",
                next="Wait until it has ended, then run the same command again.",
            )


def _started(
    ledgers: list[BackboneLedger],
    openings: Sequence[LedgerOpener],
    start: Callable[[BackboneLedger], NetworkWorker],
    notes: list[str],
) -> list[NetworkWorker]:
    """Start the networks of open tables; one that cannot be compiled fills others: its ledger is replaced."""
    networks = []
    for place, ledger in enumerate(ledgers):
        try:
            networks += [start(ledger)] if ledger.open_tables else []
        except NotCompiledError as error:
            notes.append(f"{error.message} Its vectors go to the tables of the network as it is.")
            ledgers[place] = ledger = openings[place]("torch")
            ledger.check_code()
            networks += [start(ledger)] if ledger.open_tables else []
    return networks
