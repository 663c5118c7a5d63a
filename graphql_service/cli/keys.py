"""`imagesets keys`: who may come in where IMAGESETS_AUTH asks for keys. A secret is shown once, when it is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from graphql_service.access.keys import BearerKey, add_bearer_key, add_wire_key, list_keys, remove_key
from graphql_service.access.principals import Principal
from graphql_service.cli.pages import find_datastore
from graphql_service.cli.results import OutputConsole, printable
from graphql_service.image_set import is_id
from graphql_service.settings import Settings, read_settings
from graphql_service.stores import open_store


@click.group()
def keys() -> None:
    """Make, list and remove the keys that let others in (IMAGESETS_AUTH=keys)."""


@keys.command()
@click.argument("name")
@click.option("--wire", is_flag=True, help="For HealthImaging's own clients, which sign: an id and a secret.")
@click.option(
    "--datastore",
    "datastores",
    multiple=True,
    metavar="ID",
    help="Id or name of a data store that it may search, repeatable; without it, every one.",
)
def add(*, name: str, wire: bool, datastores: Sequence[str]) -> None:
    """Make a key called NAME, and print it this once."""
    settings = read_settings(os.environ)
    principal = Principal(name, _find_datastores(datastores, settings) if datastores else None)
    path = settings.keys_file
    if wire:
        key = add_wire_key(path, principal)
        click.echo(f"AWS_ACCESS_KEY_ID={key.id}\nAWS_SECRET_ACCESS_KEY={key.secret}")
        use = "Give both to the AWS CLI or an SDK, as variables of its environment or in its credentials file."
    else:
        click.echo(add_bearer_key(path, principal))
        use = "Send it as the header 'Authorization: Bearer KEY'."
    click.echo(f"'{name}' may search {_describe(principal)}. {use} It is not shown again.", err=True)


@keys.command(name="list")
def show() -> None:
    """List the keys, without their secrets."""
    console = OutputConsole()
    if not console.is_terminal:
        console.width = 10_000
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for header in ("Name", "Kind", "Id", "Made (UTC)", "Data stores"):
        table.add_column(header, overflow="fold")
    for key in list_keys(read_settings(os.environ).keys_file):
        kind = "bearer" if isinstance(key, BearerKey) else "wire"
        ids = key.principal.datastores
        seen = "all" if ids is None else ", ".join(sorted(ids))
        cells = (printable(key.principal.name), kind, key.id, f"{key.created:%Y-%m-%d %H:%M}", seen)
        table.add_row(*map(Text, cells))
    console.print(table, crop=False)


@keys.command()
@click.argument("name")
def remove(*, name: str) -> None:
    """Remove the key called NAME; a service that runs lets it in no longer."""
    remove_key(read_settings(os.environ).keys_file, name)
    click.echo(f"'{name}' is not let in any more.", err=True)


def _find_datastores(words: Sequence[str], settings: Settings) -> frozenset[str]:
    """The ids that are given, and those of the names, for which the store is looked into."""
    ids = {word for word in words if is_id(word)}
    if names := [word for word in words if word not in ids]:
        with closing(open_store(settings.store, settings)) as store:
            ids |= {find_datastore(store, name).datastore_id for name in names}
    return frozenset(ids)


def _describe(principal: Principal) -> str:
    if principal.datastores is None:
        return "every data store"
    return f"data store{'' if len(principal.datastores) == 1 else 's'} {', '.join(sorted(principal.datastores))}"
