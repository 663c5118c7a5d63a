"""The commands, and for each way in which one can fail its sentence and its exit status.

Whatever is slow to import (GraphQL, the web server, the prompt) is imported by the command that needs it, so that
`--help` and a search start at once.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from grammar.criteria import Everything
from grammar.periods import find_zone
from grammar.problems import QueryError
from graphql_service.analysis import analyse
from graphql_service.cli.explanation import draw_problem, explain_as_code, explain_as_json, explain_in_words
from graphql_service.cli.keys import keys
from graphql_service.cli.pages import find_datastore, read_pages
from graphql_service.cli.results import DATA_FORMATS, OutputConsole, printable, write_datastores, write_table
from graphql_service.cli.serving import serve as run_service
from graphql_service.errors import (
    DataStoreNotFound,
    InvalidArgument,
    LoadError,
    ServiceError,
    SettingError,
    UnsupportedSearch,
)
from graphql_service.healthimaging.samples import LANGUAGES
from graphql_service.image_set import ImageSet, is_id
from graphql_service.loading.ndjson import read_lines
from graphql_service.paging import DEFAULT_PAGE, Page
from graphql_service.sample import DATASTORE_ID, DATASTORE_NAME, open_sample
from graphql_service.searching import Inquiry
from graphql_service.settings import WORKERS_LIMIT, Settings, find_mistyped, is_loopback, read_settings
from graphql_service.stores import open_embedded, open_store
from graphql_service.stores.base import Store
from graphql_service.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from graphql_service.loading.dicom import FolderResult, RefusedFile

_Command = TypeVar("_Command", bound=Callable[..., object])

#: Errors that lie in what was asked for, not in answering it.
_WRONG_ARGUMENTS: Final = (DataStoreNotFound, InvalidArgument, SettingError, UnsupportedSearch)

_STDIN: Final = "-"
_HEALTHIMAGING: Final = "healthimaging:"
#: So many refused lines or files of a source are named; the others are counted.
_NAMED: Final = 20
_QUERY_TO_TRY: Final = "patient = SUBJECT08701"


def main() -> NoReturn:
    """Runs the command that the program's arguments name, and ends the process with its exit status."""
    if sys.stdout is None:  # closed (`>&-`): the next file to be opened would take its place
        sys.exit(_fail("Error: standard output is closed: there is nowhere to write to.", 1))
    if sys.stdin is None:  # closed, too: there is nothing to read
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - as open as the process
    try:
        status = imagesets.main(prog_name="imagesets", standalone_mode=False) or 0
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _fail("Interrupted.", 1)
    except QueryError as error:
        console = Console(stderr=True)
        for problem in error.problems:
            console.print(draw_problem(problem, error.query, "bold red"), soft_wrap=True)
        status = 2
    except ServiceError as error:
        status = _fail(f"Error: {error}", 2 if isinstance(error, _WRONG_ARGUMENTS) else 1)
    except (BrokenPipeError, _ReaderLeft):
        status = 0
        _discard_output()
    except OSError as error:
        status = _fail(f"Error: the output cannot be written: {error.strerror}", 1)
        _discard_output()
    sys.exit(status)


def _discard_output() -> None:
    """What is still buffered has nowhere to go, and Python would say so when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(sentence: str, status: int) -> int:
    _say(sentence)
    return status


def _say(sentence: str) -> None:
    """A line on standard error. Work goes on where nobody reads it any more."""
    with suppress(BrokenPipeError):
        click.echo(sentence, err=True)


def _find_zone(_context: click.Context, _parameter: click.Parameter, name: str) -> ZoneInfo:
    try:
        return find_zone(name)
    except ValueError as error:
        raise click.BadParameter(f"there is no time zone '{name}'; an IANA name is Europe/Lisbon") from error


def _store_option(command: _Command) -> _Command:
    return click.option(
        "--store",
        "url",
        metavar="URL",
        help="sqlite:///path/to/file.db; else IMAGESETS_STORE, else a file of your own.",
    )(command)


def _datastore_option(command: _Command) -> _Command:
    return click.option(
        "--datastore", metavar="ID", help="Id or name of the data store; not needed where there is only one."
    )(command)


def _query_options(command: _Command) -> _Command:
    zone = click.option(
        "--time-zone",
        default="UTC",
        show_default=True,
        metavar="ZONE",
        callback=_find_zone,
        help="Zone of the dates in the query, such as Europe/Lisbon.",
    )
    variables = click.option(
        "--var",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="The value of $NAME in the query, taken literally; repeated for one name, a list.",
    )
    return zone(variables(command))


def _open_store(url: str | None) -> Store:
    settings = read_settings(os.environ)
    with _naming_option(url):
        return open_store(url or settings.store, settings)


def _open_embedded(url: str | None, *, create: bool = False) -> SQLiteStore:
    with _naming_option(url):
        return open_embedded(url or read_settings(os.environ).store, create=create)


@contextmanager
def _naming_option(url: str | None) -> Iterator[None]:
    """Has a wrong store called by what named it: `--store`, or else the setting."""
    try:
        yield
    except SettingError as error:
        if not url:
            raise
        raise SettingError(str(error).replace("IMAGESETS_STORE", "--store")) from error


def _read_variables(assignments: Sequence[str]) -> dict[str, object]:
    values: dict[str, list[str]] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"'{assignment}' is not NAME=VALUE", param_hint="--var")
        values.setdefault(name.removeprefix("$"), []).append(value)
    return {name: given if len(given) > 1 else given[0] for name, given in values.items()}


def _progress(*columns: ProgressColumn, shown: bool = True) -> Progress:
    """A bar on standard error where that is a terminal, gone when the work is done."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *(columns or (TextColumn("{task.fields[count]:,} image sets"),)),
        TimeElapsedColumn(),
        console=console,
        disable=not (shown and console.is_terminal),
        transient=True,
    )


def _counted(number: int, noun: str = "image set") -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _ReaderLeft(Exception):
    """Whoever read the output has read enough (`| head`): nothing failed."""


class _Commands(click.Group):
    """Our commands. click itself would end with 1 where the reader of the output has left."""

    def invoke(self, ctx: click.Context) -> object:
        """Raises _ReaderLeft instead."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="imagesets", message="imagesets %(version)s")
def imagesets() -> None:
    """Search medical image sets by typing."""


imagesets.add_command(keys)


@imagesets.command()
@click.argument("query", required=False)
@_datastore_option
@_store_option
@_query_options
@click.option("--first", type=click.IntRange(min=1), metavar="N", help="At most so many image sets (50).")
@click.option("--all", "everything", is_flag=True, help="Every image set, page after page as they are found.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *DATA_FORMATS]),
    default="table",
    show_default=True,
    help="ndjson is what `load` reads, json an array of the same; csv has a column for each field.",
)
def search(
    *,
    query: str | None,
    datastore: str | None,
    url: str | None,
    time_zone: ZoneInfo,
    assignments: Sequence[str],
    first: int | None,
    everything: bool,
    form: str,
) -> None:
    """Answer one QUERY, data on standard output; without one, open a prompt on a terminal."""
    if first is not None and everything:
        raise click.UsageError("--first and --all exclude each other.")
    variables = _read_variables(assignments)
    settings = read_settings(os.environ)
    if query is None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("Give a QUERY, such as 'modality = CT'; without one a prompt needs a terminal.")
        # Only the prompt needs it, and it is slow to import.
        from graphql_service.cli.prompt import open_prompt

        with closing(_open_store(url)) as store:
            open_prompt(store, find_datastore(store, datastore), time_zone, variables, OutputConsole())
        return
    with closing(_open_store(url)) as store:
        inquiry = Inquiry(find_datastore(store, datastore).datastore_id, query, variables, time_zone=time_zone.key)
        pages = read_pages(store, inquiry, None if everything else first or DEFAULT_PAGE, settings.max_page)
        opening = next(pages)  # a query that is refused leaves nothing on standard output
        for notice in opening.notices:
            Console(stderr=True).print(draw_problem(notice, query, "bold yellow"), soft_wrap=True)
        with _progress(shown=everything and not sys.stdout.isatty()) as progress:
            batches = _count(chain([opening], pages), progress)
            if form == "table":
                write_table(batches, OutputConsole(), time_zone)
            else:
                DATA_FORMATS[form](batches, sys.stdout.buffer)


def _count(pages: Iterable[Page], progress: Progress) -> Iterator[Sequence[ImageSet]]:
    """The image sets of each page, counted as they pass; what is not shown is said at the end."""
    task = progress.add_task("Searching", total=None, count=0)
    found, more = 0, False
    for page in pages:
        found, more = found + len(page.image_sets), page.has_next_page
        progress.update(task, count=found)
        yield page.image_sets
    _say(f"{_counted(found)}{'; there are more: --all shows every one.' if more else '.'}")


@imagesets.command()
@click.argument("query")
@_datastore_option
@_store_option
@_query_options
@click.option(
    "--as",
    "form",
    type=click.Choice(["text", "json", *LANGUAGES]),
    default="text",
    show_default=True,
    help="json has the fields of searchAnalysis; the others are the search as code for a HealthImaging client.",
)
def explain(
    *,
    query: str,
    datastore: str | None,
    url: str | None,
    time_zone: ZoneInfo,
    assignments: Sequence[str],
    form: str,
) -> int:
    """Say what QUERY means and how it is answered, without running it."""
    datastore_id = datastore or DATASTORE_ID
    if not is_id(datastore_id):
        # Only a name has to be looked up.
        with closing(_open_store(url)) as store:
            datastore_id = find_datastore(store, datastore).datastore_id
    analysis = analyse(query, _read_variables(assignments), time_zone.key)
    if form == "json":
        click.echo(explain_as_json(analysis))
    elif form == "text" or analysis.problems:
        explain_in_words(analysis, OutputConsole(stderr=form != "text"))
    else:
        click.echo(explain_as_code(analysis, datastore_id, form))
    return 2 if analysis.problems else 0


@imagesets.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE…")
@click.option("--datastore", required=True, metavar="ID", help="Id or name of the data store; a new one is made.")
@click.option(
    "--full",
    is_flag=True,
    help="Erase from the data store what is no longer in the folder; of a healthimaging:ID, read everything first.",
)
@click.option("--reread", is_flag=True, help="Read all DICOM files of a folder again, not only those that changed.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a line of JSON for each refused file of a folder: path and reason.",
)
@_store_option
def load(
    *, sources: Sequence[str], datastore: str, full: bool, reread: bool, report: Path | None, url: str | None
) -> int:
    """Load image sets from NDJSON (- is standard input), from a folder of DICOM files, or from a live data store.

    A line is one summary as SearchImageSets answers it. Loading the same again changes nothing: of two that share an
    id the newer (version, then updatedAt) stays, and of two as new the one loaded later. Lines that are no image set
    are named, the first 20 of a SOURCE, and left out; the rest is loaded.

    A SOURCE that is a folder is searched for DICOM files, whatever their names, in the folders inside it too. The next
    time only files that changed are read; stopped, it goes on. Files that cannot be loaded are named like lines, or
    in the --report.

    healthimaging:ID copies the summaries of a data store of AWS HealthImaging, with the credentials, region and
    endpoint that the AWS CLI would use. The next time only what was updated since is read; stopped, it goes on.
    """
    folders = [source for source in sources if _is_folder(source)]
    if full and (len(sources) > 1 or not (folders or sources[0].startswith(_HEALTHIMAGING))):
        raise click.UsageError("--full takes one SOURCE: a folder, or a healthimaging:ID.")
    if (reread or report) and not folders:
        raise click.UsageError(
            f"{'--reread' if reread else '--report'} is for a SOURCE that is a folder of DICOM files."
        )
    for source in sources:
        _check_source(source)
    with closing(_open_embedded(url, create=True)) as store:
        known = {each.datastore_id for each in store.datastores()}
        datastore_id = store.create_datastore(datastore).datastore_id
        failed = True
        try:
            with _open_report(report) as write_report:
                load_folder = partial(
                    _load_folder,
                    store,
                    datastore_id,
                    full=full,
                    reread=reread,
                    report=report,
                    write_report=write_report,
                )
                failed = _load_sources(store, datastore_id, sources, load_folder, full=full) > 0
        finally:
            if failed and datastore_id not in known:
                store.remove_datastore(datastore_id, only_empty=True)
    return 1 if failed else 0


def _load_sources(
    store: SQLiteStore, datastore_id: str, sources: Sequence[str], load_folder: Callable[[str], int], *, full: bool
) -> int:
    """Loads one source after the other, and answers how many lines and files were refused."""
    refused = 0
    for source in sources:
        if source.startswith(_HEALTHIMAGING):
            _copy(store, datastore_id, source, full=full)
        elif _is_folder(source):
            refused += load_folder(source)
        elif source == _STDIN:
            refused += _load(store, datastore_id, sys.stdin.buffer, "standard input")
        else:
            with Path(source).open("rb") as stream:
                refused += _load(store, datastore_id, stream, source)
    return refused


def _check_source(source: str) -> None:
    """Refuses what cannot be loaded before anything is: a data store is not made for a mistyped file."""
    if source.startswith(_HEALTHIMAGING):
        if not is_id(source.removeprefix(_HEALTHIMAGING)):
            raise click.UsageError(f"'{source}' names no data store: its id has 32 digits and lower-case letters.")
        # boto3 is slow to import.
        from graphql_service.healthimaging.client import open_client
        from graphql_service.loading.healthimaging import check_source

        with closing(open_client(None, read_settings(os.environ))) as client:
            check_source(client, source.removeprefix(_HEALTHIMAGING))
        return
    if source != _STDIN and not os.access(source, os.R_OK):
        reason = os.strerror(errno.EACCES if Path(source).exists() else errno.ENOENT)
        raise LoadError(f"'{source}' cannot be read: {reason}")


def _is_folder(source: str) -> bool:
    return source != _STDIN and not source.startswith(_HEALTHIMAGING) and Path(source).is_dir()


@contextmanager
def _open_report(path: Path | None) -> Iterator[Callable[[RefusedFile], object] | None]:
    """Writes refused files into a file that its owner alone can read: paths may hold names of patients."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise LoadError(f"the report '{path}' cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:

        def write(refused: RefusedFile) -> None:
            line = {"path": _show_path(refused.path), "reason": refused.reason}
            try:
                refused.path.decode()
            except UnicodeDecodeError:
                # What is shown of it might be another path's name.
                line["pathBase64"] = b64encode(refused.path).decode()
            stream.write(json.dumps(line) + "\n")

        yield write


def _show_path(path: bytes) -> str:
    """A path as text: bytes that are none are escaped."""
    return path.decode("utf-8", "backslashreplace")


def _load_folder(
    store: SQLiteStore,
    datastore_id: str,
    source: str,
    *,
    full: bool,
    reread: bool,
    report: Path | None,
    write_report: Callable[[RefusedFile], object] | None,
) -> int:
    """Loads the DICOM files of a folder, says what became of them, and answers how many were refused."""
    # pydicom is slow to import.
    from graphql_service.loading.dicom import FolderResult, load_folder

    count = FolderResult()
    with _progress(TextColumn("{task.fields[text]}")) as progress:
        task = progress.add_task(f"Loading {Path(source).name or source}", total=None, text="")

        def show(done: FolderResult) -> None:
            nonlocal count
            count = done
            files = done.read + done.unchanged + done.refused
            speed = files / (progress.tasks[task].elapsed or 1.0)
            made = done.image_sets.inserted + done.image_sets.updated + done.image_sets.unchanged
            making = f", {_counted(made)} made" if made else f", {speed:,.0f}/s"
            progress.update(task, text=f"{_counted(files, 'file')}{making}, {done.refused:,} refused")

        named = 0

        def refuse(refused: RefusedFile) -> None:
            nonlocal named
            if write_report is not None:
                write_report(refused)
                return
            named += 1
            if named <= _NAMED:
                line = f"{printable(_show_path(refused.path))}: {refused.reason}"
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        try:
            result = load_folder(
                Path(source),
                store,
                datastore_id,
                reread=reread,
                full=full,
                leave_out=report,
                refuse=refuse,
                progress=show,
            )
        except (ServiceError, KeyboardInterrupt):
            _say(f"{source}: stopped after {_counted(count.read, 'file')}; load it again to go on.")
            raise
    if named > _NAMED:
        _say(f"… and {named - _NAMED:,} more; --report FILE names every one.")
    made = result.image_sets
    gone = f", {_counted(result.erased, 'file')} no longer there" if full else ""
    _say(
        f"{source}: {_counted(result.read, 'file')} read, {result.unchanged:,} as they were{gone};"
        f" {_counted(result.refused, 'file')} refused. {_counted(made.inserted)} new, {made.updated:,} changed,"
        f" {made.erased:,} erased."
    )
    return result.refused


def _copy(store: SQLiteStore, datastore_id: str, source: str, *, full: bool) -> None:
    """Copies a live data store, and says what became of it."""
    # boto3 is slow to import.
    from graphql_service.healthimaging.client import open_client
    from graphql_service.loading.healthimaging import copy

    source_id, done = source.removeprefix(_HEALTHIMAGING), 0
    with closing(open_client(None, read_settings(os.environ))) as client, _progress() as progress:
        task = progress.add_task(f"Copying {source}", total=None, count=0)

        def show(count: int) -> None:
            nonlocal done
            done = count
            progress.update(task, count=count)

        try:
            result = copy(client, source_id, store, datastore_id, full=full, progress=show)
        except (ServiceError, KeyboardInterrupt):
            _say(f"{source}: stopped after {_counted(done)}; load it again to go on.")
            raise
    loaded = result.loaded
    _say(
        f"{source}: {_counted(done)} read: {loaded.inserted:,} new, {loaded.updated:,} replaced,"
        f" {loaded.unchanged:,} as they were{f'; {_counted(result.erased)} erased' if full else ''}."
    )


def _load(store: SQLiteStore, datastore_id: str, stream: IO[bytes], source: str) -> int:
    """Loads one stream, says what became of it, and answers how many lines were refused."""
    read = refused = 0
    with _progress() as progress:
        # A pipe has neither length nor place, and a compressed file another length than the lines in it.
        size = os.fstat(stream.fileno()).st_size if isinstance(stream, BufferedReader) and stream.seekable() else None
        task = progress.add_task(f"Loading {source}", total=size, count=0)

        def image_sets() -> Iterator[ImageSet]:
            nonlocal read, refused
            try:
                for line in read_lines(stream, datastore_id):
                    if isinstance(line, ImageSet):
                        read += 1
                        yield line
                        continue
                    refused += 1
                    if refused <= _NAMED:
                        progress.console.print(f"{source}:{line.number}: {line.reason}", markup=False, highlight=False)
            except OSError as error:
                raise LoadError(f"'{source}' cannot be read to its end: {error.strerror}") from error

        def show(count: int) -> None:
            progress.update(task, count=count, completed=0 if size is None else stream.tell())

        try:
            result = store.load(datastore_id, image_sets(), show)
        except (LoadError, KeyboardInterrupt):
            # Asked of the store: what was read is kept, but for a stop while it was being written.
            held = store.count(datastore_id, Everything(), sys.maxsize)
            _say(
                f"{source}: stopped after {_counted(read)} and {_counted(refused, 'refused line')};"
                f" the data store holds {_counted(held)}."
            )
            raise
    if refused > _NAMED:
        _say(f"… and {refused - _NAMED:,} more")
    _say(
        f"{source}: {_counted(read)} read: {result.inserted:,} new, {result.updated:,} replaced,"
        f" {result.unchanged:,} as they were; {_counted(refused, 'line')} refused."
    )
    return refused


@imagesets.command()
@click.option("--datastore", required=True, metavar="ID", help="Id or name of the data store.")
@click.option("--image-set", "image_set_ids", multiple=True, metavar="ID", help="Only this image set; repeatable.")
@_store_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(*, datastore: str, image_set_ids: Sequence[str], url: str | None, yes: bool) -> int:
    """Erase a whole data store, or single image sets, from the embedded store, after asking."""
    with closing(_open_embedded(url)) as store:
        found = find_datastore(store, datastore)
        named = f"data store {found.name} ({found.datastore_id})"
        count = len(set(image_set_ids)) or store.count(found.datastore_id, Everything(), sys.maxsize)
        what = f"{_counted(count)} of {named}" if image_set_ids else f"{named} with {_counted(count)}"
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("There is no terminal to ask on: add --yes to erase without asking.")
            if not click.confirm(f"Erase {what}, for good?", err=True):
                return _fail("Nothing was erased.", 1)
        if image_set_ids:
            removed = store.remove(found.datastore_id, set(image_set_ids))
            _say(f"{_counted(removed)} erased; {count - removed:,} not found.")
            return 1 if removed < count else 0
        store.remove_datastore(found.datastore_id)
        _say(f"Erased {what}.")
        return 0


@imagesets.command()
@_store_option
def datastores(*, url: str | None) -> None:
    """List the data stores."""
    with closing(_open_store(url)) as store:
        write_datastores(store.datastores(), OutputConsole())


@imagesets.command()
def schema() -> None:
    """Print the GraphQL schema as SDL."""
    # GraphQL is slow to import.
    from graphql_service.api.schema import print_schema

    click.echo(print_schema().rstrip("\n"))


@imagesets.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="0 takes any free one.")
@_store_option
@click.option("--sample", "with_sample", is_flag=True, help="Load the bundled sample first, where it is not there.")
@click.option(
    "--allow-anonymous", is_flag=True, help="Let anybody search, from other machines too (IMAGESETS_AUTH=none)."
)
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_LIMIT),
    metavar="N",
    help="Serve in so many processes, one for each core at most; else IMAGESETS_WORKERS, else one.",
)
def serve(
    *, host: str, port: int, url: str | None, with_sample: bool, allow_anonymous: bool, workers: int | None
) -> None:
    """Serve GraphQL over HTTP until Ctrl-C."""
    settings = read_settings(os.environ)
    for sentence in find_mistyped(os.environ):
        _say(sentence)
    settings = replace(settings, store=url or settings.store, workers=workers or settings.workers)
    if settings.auth == "none" and not (allow_anonymous or is_loopback(host)):
        raise SettingError(
            f"IMAGESETS_AUTH is none, and on {host} other machines can ask: set it to keys or oidc, or say"
            " --allow-anonymous"
        )
    if with_sample:
        with closing(_open_embedded(url, create=True)) as embedded:
            _load_sample(embedded)
    with _naming_option(url):
        run_service(host, port, settings, partial(_welcome, settings, with_sample=with_sample))
    _say("Stopped.")


def _load_sample(store: SQLiteStore) -> None:
    store.create_datastore(DATASTORE_ID, name=DATASTORE_NAME)
    # A first load that was cut short has left the data store empty.
    if store.count(DATASTORE_ID, Everything(), 1) == 0:
        with open_sample() as stream:
            _load(store, DATASTORE_ID, stream, DATASTORE_NAME)


def _welcome(settings: Settings, host: str, port: int, *, with_sample: bool) -> None:
    """What to open, a query to try, and who is let in."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - every address of this machine, of which one has to be told
        host = "localhost"
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    query = _QUERY_TO_TRY if with_sample else "modality = CT sort updated desc"
    document = f'{{ imageSets(query: "{query}") {{ edges {{ node {{ imageSetId patient {{ name }} }} }} }} }}'
    key, let_in = "", "whoever reaches it (IMAGESETS_AUTH is none)"
    if settings.auth != "none":
        what = "key" if settings.auth == "keys" else "token"
        key, let_in = f" -H 'Authorization: Bearer {what.upper()}'", f"whoever sends a {what}"
    _say(
        f"Serving {settings.store}\n"
        f"  open      {address}/\n"
        f"  ask       curl -s {address}/graphql -H 'content-type: application/json'{key}"
        f" -d '{json.dumps({'query': document})}'\n"
        f"  or type   {shlex.quote(sys.argv[0])} search '{query}' --store '{settings.store}'\n"
        f"It lets in {let_in}.\n"
        "Ctrl-C stops it."
    )
