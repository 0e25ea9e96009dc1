"""The commands and their flags. Every heavy import waits inside its command, so that --help answers at once."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict, Env

from crawler import children
from crawler.cli.flags import (
    DiscoverFlags,
    FetchFlags,
    FrontierFlags,
    InputFlags,
    ProcessFlags,
    StoreFlags,
    as_toml,
    plain,
)
from crawler.errors import CrawlerError, InputMissing, NotARun, SettingsChanged, SettingsError
from crawler.settings import RETRY_CHOICES, VERSION, ReportSettings, Settings, StateSettings

_STDIN = "<standard input>"  # what a lone "-" is called while flags are parsed, where it would look like a flag
_USAGE_ERRORS = (SettingsError, InputMissing, SettingsChanged, NotARun)


def config_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Read the TOML file that --config (or CRAWLER_CONFIG) names, below flags and environment."""
    named = next((argument for argument in arguments if argument.name == "--config"), None)
    if named is None or not named.tokens:
        return
    path = Path(named.tokens[0].value)
    if not path.is_file():
        raise SettingsError("config", f"{path}: no such file")
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("config", f"{path}: {error}") from error
    if "headers" in values:
        values["header"] = [*values.get("header", []), *_header_table(path, values.pop("headers"))]
    Dict(values, source=str(path), use_commands_as_keys=False)(app, commands, arguments)


def _header_table(path: Path, table: Any) -> Iterator[str]:
    """`[headers]` and `[headers."example.org"]` of a file, as `--header` takes them."""
    for name, value in (table if isinstance(table, dict) else {"": ""}).items():
        if isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
            yield from (f"{name} {header}: {text}" for header, text in value.items())
        elif isinstance(value, str) and name:
            yield f"{name}: {value}"
        else:
            raise SettingsError("config", f"{path}: [headers] holds names with texts, or hosts with tables of such")


app = App(
    name="crawler",
    version=VERSION,
    help="Image URLs, lists and sites to a clean set of pictures on disk.",
    config=[Env("CRAWLER_", command=False), config_file],
    result_action="return_value",
)


@app.command
def run(
    *sources: str,
    input: Annotated[InputFlags, Parameter(name="*", group="Input")] = InputFlags(),
    frontier: Annotated[FrontierFlags, Parameter(name="*", group="Frontier")] = FrontierFlags(),
    fetch: Annotated[FetchFlags, Parameter(name="*", group="Fetch")] = FetchFlags(),
    process: Annotated[ProcessFlags, Parameter(name="*", group="Process")] = ProcessFlags(),
    discover: Annotated[DiscoverFlags, Parameter(name="*", group="Discover")] = DiscoverFlags(),
    store: Annotated[StoreFlags, Parameter(name="*", group="Store")] = StoreFlags(),
    state: Annotated[StateSettings, Parameter(name="*", group="State")] = StateSettings(),
    report: Annotated[ReportSettings, Parameter(name="*", group="Report")] = ReportSettings(),
    config: Annotated[Path | None, Parameter(group="Command")] = None,
    show_settings: Annotated[bool, Parameter(group="Command", negative="")] = False,
    quiet: Annotated[bool, Parameter(group="Command", negative="")] = False,
    json: Annotated[bool, Parameter(group="Command", negative="")] = False,
    strict: Annotated[bool, Parameter(group="Command", negative="")] = False,
) -> int:
    """Fetch, process and store the pictures behind URLs and lists of URLs.

    A rerun with the same output folder goes on where the last one ended.
    Exit code: 0 finished, 1 failed, 2 wrong usage, 130 interrupted.

    Parameters
    ----------
    sources
        URLs, lists of URLs (txt, csv, tsv, json, jsonl, parquet; files, folders, patterns, addresses of stores), or - for
        standard input.
    config
        A TOML file with settings; its keys are the flags without the dashes in front.
    show_settings
        Print the settings as a TOML file and do nothing else.
    quiet
        Say nothing but errors.
    json
        Print the summary as one JSON object on standard output.
    strict
        Exit with 1 if any target was missed.
    """
    given = tuple("-" if source == _STDIN else source for source in sources)
    settings = plain(
        input=_with_sources(input, given),
        frontier=frontier, fetch=fetch, process=process, discover=discover, store=store, state=state, report=report,
    )  # fmt: skip
    if show_settings:
        print(as_toml(settings), end="")
        return 0
    if not given:
        raise SettingsError("sources", "nothing to fetch; give URLs, text files with URLs, or - for standard input")
    if settings.process.executor == "process" and settings.process.check == "pixels":
        children.prepare()
    gc.disable()  # until `run_to_end`: what is imported is no garbage, and looking for it takes a tenth of the time
    from crawler.cli.run import run_to_end

    return run_to_end(settings, quiet=quiet, json_summary=json, strict=strict)


@app.command
def demo(
    *,
    output: Annotated[str, Parameter(alias="-o")] = "demo-images",
    quiet: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Crawl a small site that this command makes and serves itself on this machine; needs no internet.

    Parameters
    ----------
    output
        Folder for the pictures.
    quiet
        Say nothing but errors.
    json
        Print the summary as one JSON object on standard output.
    """
    from crawler.cli.demo import run_demo

    return run_demo(output, quiet=quiet, json_summary=json)


@app.command
def bench(
    *,
    quick: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[str, Parameter(alias="-o")] = "",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure this machine without internet: fetching, workers, threads in their place, the disk and a whole run, beside what
    the codecs alone make; and say what holds a run back.

    Parameters
    ----------
    quick
        A quarter of a minute instead of two.
    output
        A folder on the disk that is to be measured; without it the system's folder for temporary files.
    json
        Print one JSON object.
    """
    from crawler.cli.bench import run_bench

    return run_bench(output, quick=quick, as_json=json)


@app.command
def find(
    url: str,
    /,
    *,
    fetch: Annotated[FetchFlags, Parameter(name="*", group="Fetch")] = FetchFlags(),
    discover: Annotated[DiscoverFlags, Parameter(name="*", group="Discover")] = DiscoverFlags(),
    json: Annotated[bool, Parameter(group="Command", negative="")] = False,
) -> int:
    """List what would be fetched from a page, and which rule found it, without fetching a picture.

    Parameters
    ----------
    url
        Address of a page, a sitemap or a feed.
    json
        Print a JSON list with an object for each page: pictures with their other versions and texts, links, what was
        passed over and why.
    """
    from crawler.cli.find import looking, show_found

    return show_found(looking(_of_one(url, FrontierFlags(), fetch, replace(discover, max_pages=1))), as_json=json)


@app.command
def urls(
    url: str,
    /,
    *,
    frontier: Annotated[FrontierFlags, Parameter(name="*", group="Frontier")] = FrontierFlags(),
    fetch: Annotated[FetchFlags, Parameter(name="*", group="Fetch")] = FetchFlags(),
    discover: Annotated[DiscoverFlags, Parameter(name="*", group="Discover")] = DiscoverFlags(),
    format: Annotated[Literal["txt", "jsonl"], Parameter(group="Command")] = "txt",
) -> int:
    """Write the addresses of the pictures of a page or a site, as they are found: `urls URL --follow > urls.txt`.

    Parameters
    ----------
    url
        Address of a page, a sitemap or a feed.
    format
        txt writes addresses only; jsonl also the page, the texts, the rule and the other versions.
    """
    from crawler.cli.find import looking, print_urls

    return print_urls(looking(_of_one(url, frontier, fetch, discover)), form=format)


@app.command
def status(folder: str, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show a run from its journal: counts, reasons, worst hosts, rate over time. Also while it runs.

    Parameters
    ----------
    folder
        The output of the run, or the folder that --state named.
    json
        Print one JSON object.
    """
    from crawler.cli.inspect import show_status

    return show_status(folder, as_json=json)


@app.command
def misses(
    folder: str,
    /,
    *,
    reason: str | None = None,
    format: Literal["txt", "jsonl", "csv"] = "txt",
) -> int:
    """Print the targets that a run missed, to be read or piped: `misses DIR | crawler run - -o OTHER`.

    Parameters
    ----------
    folder
        The output of the run, or the folder that --state named.
    reason
        Only those missed for this reason.
    format
        txt prints addresses only; jsonl and csv all that is known.
    """
    from crawler.cli.inspect import print_misses

    return print_misses(folder, reason, format)


@app.command
def verify(
    folder: str,
    /,
    *,
    repair: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Check every stored picture of a run: present, right size, same bytes, decodes. Exit code 1 if one is not.

    Parameters
    ----------
    folder
        The output of the run, or the folder that --state named.
    repair
        Mark what is wrong, so that the next run does it again; damaged files are removed.
    json
        Print one JSON object.
    """
    from crawler.cli.inspect import verify_folder

    return verify_folder(folder, repair=repair, as_json=json)


def _of_one(url: str, frontier: FrontierFlags, fetch: FetchFlags, discover: DiscoverFlags) -> Settings:
    """The settings of a look at one address."""
    return plain(
        input=InputFlags(sources=(url,)),
        frontier=frontier,
        fetch=fetch,
        discover=discover,
        store=StoreFlags(format="none"),
    )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and exit with its code."""
    _open_standard_streams()
    words = list(_words(sys.argv[1:] if arguments is None else arguments))
    try:
        code: Any = app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        code = _complain(error, 2)
    except CrawlerError as error:
        code = _complain(error, 2 if isinstance(error, _USAGE_ERRORS) else 1)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _open_standard_streams() -> None:
    """A closed one would be the number of the next file that is opened, and libuv does not take that."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _words(arguments: Sequence[str]) -> Iterator[str]:
    """The words of a command line, with those made plain that a parser of flags would misread."""
    for at, word in enumerate(arguments):
        if word == "-" and arguments[at - 1] not in ("-o", "--output"):
            yield _STDIN
        elif word == "--retry-missed" and not _is_choice(arguments[at + 1 : at + 2]):
            yield "--retry-missed=later"  # the value may be left out
        else:
            yield word


def _is_choice(following: Sequence[str]) -> bool:
    return bool(following) and following[0] in RETRY_CHOICES


def _complain(error: Exception, code: int) -> int:
    """One clear line."""
    text = str(error) if isinstance(error, CrawlerError) else " ".join(str(error).split())
    print(f"crawler: {text}", file=sys.stderr)
    return code


def _with_sources(flags: InputFlags, sources: tuple[str, ...]) -> InputFlags:
    return replace(flags, sources=sources)
