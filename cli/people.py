"""``speakerbot people``: who wants which messages, when and how."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.documents import person_document
from cli.export_file import Output, form_of, write_export
from cli.imports import File, Mapped, emit_import, say_notes, show_rows, summary
from cli.open_store import to_change, to_read
from cli.options import AsJson, DryRun, Parsed
from cli.output import emit_json, on_terminal, plain, say, table
from cli.terminal import narrow, progress, show
from cli.user_argument import User, find_user
from speakerbot.domain import person as preferences
from speakerbot.errors import NotFound, UsageError

if TYPE_CHECKING:
    from speakerbot.domain.person import Person
    from speakerbot.formats.people import PersonImport
    from speakerbot.formats.problems import ImportProblems
    from speakerbot.ports.store import Store

app = typer.Typer(no_args_is_help=True, add_completion=False)

Kind = Annotated[
    str,
    typer.Argument(
        metavar="[KIND]",
        help=f"Of messages: {', '.join(preferences.OPT_OUT_KINDS)}.",
        click_type=Parsed(preferences.opt_out_kind),
    ),
]
CLEAR = "none"


@app.command("opt-out", epilog="Example: speakerbot people opt-out 802345678901234564 reminders")
def opt_out(user: User, kind: Kind = "all", dry_run: DryRun = False) -> None:
    """Send somebody no more messages of a kind, or none at all."""
    before, after = _change(user, lambda who: preferences.opted_out(who, kind), dry_run=dry_run)
    say(_preferences(before, after, dry_run=dry_run))


@app.command("opt-in", epilog="Example: speakerbot people opt-in 802345678901234564 reminders")
def opt_in(user: User, kind: Kind = "all", dry_run: DryRun = False) -> None:
    """Send somebody messages of a kind again, or of every kind."""
    before, after = _change(user, lambda who: preferences.opted_in(who, kind), dry_run=dry_run)
    say(_preferences(before, after, dry_run=dry_run))
    if "all" in before.opted_out and kind != "all":
        say(f"(they were out of all; `speakerbot people opt-in {user}` lets every kind through)")


def _preferences(before: Person, after: Person, *, dry_run: bool) -> str:
    if before == after:
        return f"unchanged: {_who(after)} gets {_gets(after)} already"
    return f"{_who(after)} {'would get' if dry_run else 'now gets'} {_gets(after)}"


def _gets(person: Person) -> str:
    if "all" in person.opted_out:
        return "no messages at all"
    if person.opted_out:
        return f"every kind of message but {', '.join(sorted(person.opted_out))}"
    return "every kind of message"


@app.command(
    "set",
    epilog="Example: speakerbot people set 802345678901234564 "
    "--quiet-hours 22:00-08:00 --timezone Europe/Berlin",
)
def set_person(
    user: User,
    name: Annotated[str | None, typer.Option(help="How messages call them.")] = None,
    quiet_hours: Annotated[
        str | None, typer.Option(metavar="22:00-08:00", help="Messages wait until they end.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="IANA name; none: the community's.")
    ] = None,
    routes: Annotated[
        str | None, typer.Option(metavar="dm,thread", help="In this order; none: the community's.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Set somebody's preferences; the word none takes one away."""
    given = {"name": name, "quiet_hours": quiet_hours, "timezone": timezone, "routes": routes}
    values = _parsed({option: text for option, text in given.items() if text is not None})
    before, after = _change(user, lambda who: replace(who, **values), dry_run=dry_run)
    if before == after:
        say(f"unchanged: {_who(after)} has these preferences already")
        return
    will = "would have" if dry_run else "now has"
    changes = (f"{option.replace('_', ' ')} {_cell(after, option) or CLEAR}" for option in values)
    say(f"{_who(after)} {will} {', '.join(changes)}")
    if "quiet_hours" in values and after.quiet_hours and after.timezone is None:
        say("(quiet hours go by the community's time zone until --timezone is set)")


def _parsed(given: dict[str, str]) -> dict[str, Any]:
    """The preferences by attribute. Raises UsageError naming all options that make no sense."""
    from speakerbot.clock import read_zone
    from speakerbot.config import parse_routes

    parsers: dict[str, Callable[[str], object]] = {
        "name": str.strip,
        "quiet_hours": preferences.parse_quiet_hours,
        "timezone": lambda text: read_zone(text).key,
        "routes": parse_routes,
    }
    values: dict[str, Any] = {}
    problems = []
    for option, text in given.items():
        try:
            cleared = () if option == "routes" else None
            values[option] = cleared if text.strip() == CLEAR else parsers[option](text)
        except ValueError as problem:
            problems.append(f"--{option.replace('_', '-')}: {problem}")
    if not given:
        problems.append("nothing to set: give --quiet-hours, --timezone, --routes or --name")
    if problems:
        raise UsageError("\n".join(problems))
    return values


def _change(
    user: str, change: Callable[[Person], Person], *, dry_run: bool
) -> tuple[Person, Person]:
    """The person before and after. An unknown Discord id becomes a person with the change."""
    with to_change(dry_run=dry_run) as (store, _):
        found = find_user(store, user)

        def newcomer() -> Person:
            if found.user_id is None:
                raise _unknown(user)
            return preferences.new_person(found.user_id)

        if not dry_run:
            return store.people.change(found.id, change, newcomer)
        before = found.person or newcomer()
        return before, change(before)


@app.command(
    "link", epilog="Example: speakerbot people link 'Ada Ferreira' --discord 802345678901234561"
)
def link(
    user: Annotated[
        str,
        typer.Argument(
            metavar="USER", help="A person's own id, or the name a programme calls them by."
        ),
    ],
    discord: Annotated[str, typer.Option("--discord", metavar="ID", help="Their Discord id.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say who somebody is on Discord: a person without a Discord id, or a programme's speaker.

    The next `talks sync` books the sessions of a speaker that was linked.
    """
    user_id = _discord_id(discord)
    with to_change(dry_run=dry_run) as (store, _):
        person = _without_discord(store, user)
        if person is not None and (person.id == user or store.people.get(user_id) is None):
            after, said = _link_person(store, person, user_id, dry_run=dry_run)
        else:
            after, said = _link_name(store, user, user_id, dry_run=dry_run)
    if as_json:
        emit_json({"dry_run": dry_run, "person": person_document(after)})
    else:
        say("\n".join(said))


def _without_discord(store: Store, user: str) -> Person | None:
    """The person of that id, or the only one of that name who has no Discord id."""
    if person := store.people.get(user):
        return person
    wanted = preferences.plain_name(user)
    named = [
        person
        for person in store.people.all()
        if person.discord_user_id is None and preferences.plain_name(person.name or "") == wanted
    ]
    if len(named) > 1:
        listed = "\n".join(f"  {plain(person.name)} ({person.id})" for person in named)
        raise UsageError(f"several people are called {user!r}; give the id of one:\n{listed}")
    return named[0] if named else None


def _discord_id(text: str) -> str:
    found = re.fullmatch(r"<@!?([0-9]{15,20})>|([0-9]{15,20})", text.strip())
    if found is None:
        raise UsageError(
            f"--discord: {text!r} is not a Discord id, which has 17 to 20 digits; Discord's "
            "developer mode adds Copy User ID to its menus"
        )
    return found[1] or found[2]


def _link_person(
    store: Store, person: Person, user_id: str, *, dry_run: bool
) -> tuple[Person, list[str]]:
    """Gives a person a Discord id, who has none."""
    if person.discord_user_id == user_id:
        return person, [f"unchanged: {_who(person)} has this Discord id already"]
    if person.discord_user_id is not None:
        raise UsageError(f"{person.id} is {person.discord_user_id} on Discord already")
    if holder := store.people.get(user_id):
        raise UsageError(
            f"{user_id} is {_who(holder)} (id {holder.id}) already, who has preferences of their "
            f"own; {person.id} cannot become the same person"
        )

    def link(who: Person) -> Person:
        if who.discord_user_id not in (None, user_id):
            raise UsageError(f"{who.id} has just become {who.discord_user_id} on Discord")
        return replace(who, discord_user_id=user_id)

    after = link(person)
    if not dry_run:
        _, after = store.people.change(person.id, link, lambda: person)
    done = "would be" if dry_run else "is now"
    return after, [f"{plain(person.name or person.id)} {done} {user_id} on Discord"]


def _link_name(store: Store, name: str, user_id: str, *, dry_run: bool) -> tuple[Person, list[str]]:
    """What a programme calls a Discord user; from now on only this person has that name there."""
    if not name.strip() or name.strip().isdigit():
        raise UsageError(f"{name!r} is not a name; write USER as `talks sync` lists it")
    name = " ".join(name.split())
    holder = store.people.get(user_id) or preferences.new_person(user_id)
    link = partial(preferences.linked, name=name)
    unlink = partial(preferences.unlinked, name=name)
    others = [
        person
        for person in store.people.all()
        if person.id != holder.id and unlink(person) != person
    ]
    after = link(holder)
    if after == holder and not others:
        return holder, [f"unchanged: {plain(name)} in programmes is {_who(holder)} already"]
    if not dry_run:
        # First the new one: while two have the name, a sync takes it for neither.
        _, after = store.people.change(user_id, link, lambda: holder)
        for person in others:
            store.people.change(person.id, unlink, partial(replace, person))
    done = "would be" if dry_run else "is now"
    said = [f"{plain(name)} in programmes {done} {_who(after)}; `talks sync` books them now"]
    no_more = "would not be" if dry_run else "not"
    return after, [*said, *(f"(and {no_more} {_who(person)} any more)" for person in others)]


def _unknown(user: str) -> NotFound:
    return NotFound(f"nothing is known about {user!r}; `speakerbot people list` shows who is known")


def _who(person: Person) -> str:
    return plain(f"{person.name} ({_user(person)})" if person.name else _user(person))


def _user(person: Person) -> str:
    return person.discord_user_id or person.id


@app.command("list", epilog="Example: speakerbot people list")
def list_people(as_json: AsJson = False) -> None:
    """List everybody whose preferences are known; all others get everything."""
    with to_read() as (store, _):
        people = store.people.all()
        if as_json:
            emit_json({"people": [person_document(person) for person in people]})
            return
        columns = ["id", "discord_user_id", "name", "timezone", "quiet_hours", "routes"]
        if on_terminal():
            columns = ["user", "name", "timezone", "quiet_hours", "routes"]
        if narrow():
            columns = ["user", "name", "quiet_hours"]
        columns.append("opted_out")
        table(
            [name.replace("_", " ") for name in columns],
            ([_cell(person, name) for name in columns] for person in people),
            empty=f"Nobody in {store.describe()} has any preferences yet.",
            whole=("user", "quiet hours"),
        )


def _cell(person: Person, name: str) -> str:
    """A field as people read it; ``user`` is how commands call them."""
    value = _user(person) if name == "user" else getattr(person, name)
    if isinstance(value, (tuple, frozenset)):
        return ",".join(value if isinstance(value, tuple) else sorted(value))
    return "" if value is None else str(value)


@app.command("show", epilog="Example: speakerbot people show 802345678901234564")
def show_person(user: User, as_json: AsJson = False) -> None:
    """Show what is known about somebody."""
    with to_read() as (store, _):
        person = find_user(store, user).person
    if person is None:
        raise _unknown(user)
    if as_json:
        emit_json(person_document(person))
        return
    columns = [name for name in person_document(person) if name != "extra"]
    show([(name, _cell(person, name)) for name in columns] + list(person.extra.items()))
    say(f"gets {_gets(person)}")


@app.command("import", epilog="Example: speakerbot people import people.csv --partial")
def import_people(
    file: File,
    some: Annotated[
        bool, typer.Option("--partial", help="Leave out who has a mistake, take the others.")
    ] = False,
    mapped: Mapped = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take in people from a sheet (CSV, .xlsx) or a JSON lines file: all of them, or none.

    Shows who is new, changed and unchanged before anything is written. What the file leaves out
    or empty stays as it is, and no opt-out is lifted.
    """
    from speakerbot.formats import people as formats
    from speakerbot.formats.problems import ImportProblems
    from speakerbot.formats.source import read_source

    fields = formats.COLUMNS.parse_map(mapped or [])
    source = read_source(file)
    refused = ImportProblems(source.problems.source) if some else source.problems
    with to_change(dry_run=dry_run) as (store, _):
        people = formats.read(source, refused, fields)
        entries = list(progress(people, source.line_count, "reading"))
        before = list(refused.found)

        def plan() -> PersonImport:
            refused.found[:] = before
            planned = formats.plan(entries, store.people.all(), refused)
            if not entries and not refused.found:
                source.problems.add("", "there are no people in it")
            source.problems.refuse()
            return planned

        shown = change = plan()
        if not as_json:
            show_rows(shown.rows, ("user", "name"), _imported, formats.differences)
            say_notes([*source.notes, *_left_out(refused)])
        if not dry_run:
            with store.at_once():
                change = plan()
                store.people.put([*change.new, *change.updated])
    if as_json:
        notes = [*source.notes, *_left_out(refused)]
        emit_import(change, person_document, formats.differences, notes, dry_run=dry_run)
        return
    if change != shown:
        say("somebody changed the store meanwhile; this was written:")
        show_rows(change.rows, ("user", "name"), _imported, formats.differences)
    say(summary(change, "person" if len(change.rows) == 1 else "people", dry_run=dry_run))


def _left_out(refused: ImportProblems) -> list[str]:
    return [f"left out: {problem}" for problem in refused.found]


def _imported(person: Person) -> tuple[object, ...]:
    return (_user(person), person.name)


PersonForm = Literal["jsonl", "csv"]
PERSON_FORMS: dict[str, PersonForm] = {
    ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".csv": "csv",
}  # fmt: skip


@app.command("export", epilog="Example: speakerbot people export -o people.csv")
def export_people(
    form: Annotated[
        PersonForm | None,
        typer.Option(
            "--format",
            help="jsonl (the default) keeps everything; csv for spreadsheets. Else as FILE ends.",
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Write everybody who is known, in a form that import reads."""
    from speakerbot.formats import people as formats

    chosen = form_of(form, output, PERSON_FORMS, "jsonl")
    with to_read() as (store, _):
        if chosen == "jsonl":
            write_export(formats.write_json(store.people.all()), output)
        else:
            write_export(formats.write_csv(list(store.people.all())), output)
