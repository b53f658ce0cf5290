"""Texts of others as ids, titles, names and paths: everywhere each is shown as it is, its unseen characters by their names."""

from __future__ import annotations

import csv
import functools
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import yaml
from markdown_it import MarkdownIt

from sage_pl.report.labels import title
from tests.campaign.bench import Bench, Case, Outcome, Verdict

TEXTS = [
    "[/b] x",
    "B00[new]5",
    ":tea: [link=http://a.b]x[/link]",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[H",
    "\x9b31mcsi",
    "a\rb",
    "a\tb",
    "ok\x7f\x08\x08no",
    "x\n99:99:99 metrics     forged.json",
    "x\r\n99:99:99 forged",
    "x\n\\end{tabular}\\input{secret}",
    "x\u2028y\u2029z",
    "\u202egnp.exe\u202c",
    "\u2066a\u2069",
    "zero\u200bwidth\ufeff",
    "=cmd|' C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "'=1+1",
    "-0.5",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></script><b>",
    "&amp; &#60;",
    "100% \\newpage & _x_ #1 $y$ {z} ~ ^^M",
    "| a | b |",
    "`code` **bold** [x](http://a.b) _em_",
    "1. one # two",
    "{{ 7*7 }}{% raw %}",
    "it's --- ''",
]
TIMED = re.compile(r"\d\d:\d\d:\d\d ")
FORMULA = re.compile(r"[=+\-@\t\r]")


def escaped(text: str) -> str:
    """What a reader should see."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """A value of the command line; Hydra's escapes are those before a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), text) + "'"


def read(file: Path) -> str:
    return file.read_bytes().decode("utf-8", "surrogateescape")


def unseen(content: str) -> bool:
    """Whether a character could move a cursor, begin a line, reverse the writing or hide; tabs stay in some logs."""
    return any(not c.isprintable() and c not in "\n\t" for c in content)


def of_terminal(done: Outcome, *shown: str, code: int = 0) -> Verdict:
    """Printed lines: all texts are in them, and nothing unseen."""
    printed = done.out + done.err
    if done.verdict != "held" or done.code not in (code,):
        return "traceback" if done.verdict == "held" else done.verdict
    lines = "".join(printed.split("\n"))  # a terminal's width may break a line
    return "held" if not unseen(printed) and all(one in lines for one in shown) else "wrong result"


def of_log(file: Path) -> bool:
    """Every record begins with the time and every further line is indented, so none is forged."""
    lines = re.split(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", read(file))
    return all(not line or line.startswith("  ") or TIMED.match(line) for line in lines) and not any(
        line.startswith("99:99:99") for line in lines
    )


class Page(HTMLParser):
    """The visible text of a page, and what a hostile text could have added."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.words, self.bad, self.scripts, self.inside = [], [], 0, ""
        self.feed(content)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.scripts += tag == "script"
        self.bad += [tag] if tag in ("img", "b", "iframe", "link", "base") else []
        self.bad += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.words.append(data)


def of_page(file: Path, *shown: str) -> bool:
    content = read(file)
    page = Page(content)
    words = [" ".join(one.split()) for one in shown]
    return not page.bad and page.scripts == 1 and not unseen(content) and all(one in page.text for one in words)


def write_world(folder: Path, source: Path, names: list[str], titles: list[str] | None = None) -> Path:
    """The small world with text ids, the first of them ``names``."""
    folder.mkdir(parents=True)

    def rename(column: str, prefix: str) -> pl.Expr:
        number = pl.col(column).cast(pl.String).str.strip_prefix("u")
        return (
            pl.when(number.cast(pl.Int64) < len(names))
            .then(number.replace({str(i): name for i, name in enumerate(names)}))
            .otherwise(prefix + number)
            .alias(column)
        )

    events = pl.read_parquet(source / "interactions.parquet")
    events.with_columns(rename("user_id", "u"), rename("item_id", "i")).write_parquet(folder / "interactions.parquet")
    items = pl.read_parquet(source / "items.parquet").with_columns(rename("item_id", "i"))
    if titles is None:
        titles = [*(f"T {name} green tea" for name in names), *items["title"].to_list()[len(names) :]]
    items.with_columns(pl.Series("title", titles[: len(items)])).write_parquet(folder / "items.parquet")
    return folder


def cases(bench: Bench) -> Iterator[Case]:
    """Per text and place one case; what several cases look at is made once."""
    trials = Trials(bench)
    for number, text in enumerate(TEXTS):
        for place, look in trials.places().items():
            yield f"{place}: {text!r}", functools.partial(look, number)
    for text in ("it's [new] *", "a\\b", "x\ny"):
        yield f"sweep folder and override: {text!r}", functools.partial(trials.sweep, text)
    for place in ("dataset.name", "+note", "hydra.run.dir", "dataset.path"):
        yield f"an argument that is not UTF-8: {place}", functools.partial(trials.not_unicode, place)


class Trials:
    """Commands on worlds and run folders that hold the texts."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.outputs = bench.new_folder("outputs")

    def places(self) -> dict[str, Callable[[int], Verdict]]:
        return {
            "item id and title on the terminal": self.history,
            "user id on the terminal": self.user,
            "ids in parquet": self.parquet,
            "unknown id in an error": self.error,
            "training: name, titles, log": self.training_log,
            "training: report": self.training_report,
            "run folder": self.run_folder,
            "comparison: terminal": self.compared_terminal,
            "comparison: Markdown": self.compared_markdown,
            "comparison: TeX": self.compared_tex,
            "comparison: CSV": self.compared_csv,
            "comparison: report": self.compared_report,
            "report by run": self.reported,
        }

    def train(self, folder: Path, world: Path, *more: str) -> Outcome:
        settings = [one for one in self.bench.settings(self.outputs) if not one.startswith("dataset.path")]
        run = [f"dataset.path={world}", "method=plain", f"hydra.run.dir={quoted(str(folder))}"]
        return self.bench.command("train", *settings, *run, *more)

    # a world of texts

    @functools.cached_property
    def checkpoint(self) -> Path:
        names = TEXTS
        world = write_world(self.bench.new_folder("world") / "all", self.bench.world(), names)
        folder = self.bench.new_folder("run") / "all"
        done = self.train(folder, world, "trainer.max_epochs=1")
        assert done.code == 0, done.out + done.err
        return folder / "checkpoints" / "best.ckpt"

    def recommend(self, *request: str) -> tuple[Outcome, Path]:
        folder = self.bench.new_folder("recommend")
        return self.bench.command(
            "recommend", f"checkpoint={self.checkpoint}", f"hydra.run.dir={folder}", *request
        ), folder

    def history(self, number: int) -> Verdict:
        text = TEXTS[number]
        done, _ = self.recommend(f"history=[{quoted(text)}]", "k=30")
        return of_terminal(done, f"{escaped(text)}  T {escaped(text)} green tea")

    def user(self, number: int) -> Verdict:
        done, _ = self.recommend(f"users=[{quoted(TEXTS[number])}]", "k=1")
        return of_terminal(done, f"user {escaped(TEXTS[number])}: ")

    @functools.cached_property
    def lists(self) -> pl.DataFrame | None:
        done, _ = self.recommend("users=all", "k=60", "seen=keep", f"parquet={self.outputs / 'lists.parquet'}")
        return pl.read_parquet(self.outputs / "lists.parquet") if done.code == 0 else None

    def parquet(self, number: int) -> Verdict:
        if self.lists is None:
            return "traceback"
        exact = all(TEXTS[number] in self.lists[column].unique().to_list() for column in ("user_id", "item_id"))
        return "held" if exact else "wrong result"

    def error(self, number: int) -> Verdict:
        done, folder = self.recommend(f"users=[{quoted('no ' + TEXTS[number])}]")
        verdict = of_terminal(done, code=1)
        log = folder / "recommend.log"
        return verdict if verdict != "held" or (of_log(log) and not unseen(read(log))) else "wrong result"

    # a run whose data set and titles are a text

    @functools.cache  # noqa: B019  as long as the campaign
    def training(self, number: int) -> tuple[Outcome, Path]:
        text = TEXTS[number]
        titles = [f"{text} {i} green tea" for i in range(60)]
        world = write_world(self.bench.new_folder("world") / "one", self.bench.world(), [], titles)
        folder = self.bench.new_folder("run") / "one"
        more = [f"dataset.name={quoted(text)}", f"+note={quoted(text)}", "report=quick"]
        return self.train(folder, world, "trainer.max_epochs=1", *more), folder

    def training_log(self, number: int) -> Verdict:
        done, folder = self.training(number)
        verdict = of_terminal(done)
        return verdict if verdict != "held" or of_log(folder / "train.log") else "wrong result"

    def training_report(self, number: int) -> Verdict:
        _, folder = self.training(number)
        if not (folder / "report.html").is_file():
            return "traceback"
        page = of_page(folder / "report.html", f"on {escaped(title(TEXTS[number]))}", f"{escaped(TEXTS[number])} 1")
        return "held" if page else "wrong result"

    def run_folder(self, number: int) -> Verdict:
        name = TEXTS[number].replace("/", "")
        folder = self.bench.new_folder("run") / name / "run"
        done = self.train(folder, self.bench.world(), "trainer.max_epochs=1")
        verdict = of_terminal(done, escaped(f"{name}/run/checkpoints/best.ckpt"))
        if verdict != "held":
            return verdict
        return "held" if (folder / "metrics.json").is_file() and of_log(folder / "train.log") else "wrong result"

    # run folders of others: a text is the data set, the note and the method

    @functools.cached_property
    def finished(self) -> Path:
        folder = self.bench.new_folder("run") / "plain"
        done = self.train(folder, self.bench.world(), "+note=plain", "trainer.max_epochs=1")
        assert done.code == 0, done.out + done.err
        return folder

    def copied(self, text: str, *places: str) -> Path:
        folder = self.bench.new_folder("copied") / "run"
        shutil.copytree(self.finished, folder)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        for place in places:
            node = config
            *parents, key = place.split(".")
            for parent in parents:
                node = node[parent]
            node[key] = text
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return folder

    @functools.cache  # noqa: B019
    def comparison(self, number: int) -> tuple[Outcome, Path]:
        """A data set with two systems, whose names and baseline are texts too."""
        text = TEXTS[number]
        runs = [self.copied(text, "dataset.name", "note"), self.copied(text, "dataset.name")]
        folder = self.bench.new_folder("comparison")
        places = ",".join(quoted(str(run)) for run in runs)
        overrides = [f"runs=[{places}]", "by=note", "baseline=plain", "report=quick", f"hydra.run.dir={folder}"]
        return self.bench.command("compare", *overrides, "resamples=50"), folder

    def compared_terminal(self, number: int) -> Verdict:
        done, folder = self.comparison(number)
        verdict = of_terminal(done, f"{escaped(TEXTS[number])}: plain, seeds")
        return verdict if verdict != "held" or of_log(folder / "compare.log") else "wrong result"

    def compared_markdown(self, number: int) -> Verdict:
        _, folder = self.comparison(number)
        if not (folder / "comparison.md").is_file():
            return "traceback"
        content, text = read(folder / "comparison.md"), escaped(TEXTS[number])
        tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(content)
        inside = [token.children or [] for token in tokens if token.type == "inline"]
        kinds = {token.type for token in tokens} | {child.type for children in inside for child in children}
        plain = ["".join(child.content for child in children) for children in inside]
        marks = {child.content for children in inside for child in children if child.type == "code_inline"}
        foreign = {"html_inline", "html_block", "link_open", "em_open", "strong_open", "s_open", "ordered_list_open"}
        cells = sum(cell.removesuffix("‡").rstrip() == text for cell in plain)  # the mark: not converged
        names = f"{text}, recommended lists" in plain and cells > 2  # headings and cells
        fine = names and not kinds & foreign and marks <= {"*", "~", "‡"} and not unseen(content)
        return "held" if fine else "wrong result"

    def compared_tex(self, number: int) -> Verdict:
        _, folder = self.comparison(number)
        if not (folder / "comparison.tex").is_file():
            return "traceback"
        content, text = read(folder / "comparison.tex"), escaped(TEXTS[number])
        own = (r"\begin{tabular}{", r"\end{tabular}", r"\toprule", r"\midrule", r"\bottomrule")
        rows = []
        for line in re.split(r"[\n\r]", content):
            if line and not line.startswith("%"):
                if line.endswith(r" \\"):
                    rows.append(line.removesuffix(r" \\"))
                elif not (line.startswith(own) and line.count("\\") == 1):
                    return "wrong result"
        names = {untex(cell.strip()) for row in rows for cell in re.split(r"(?<!\\)&", row)}
        mark = r" \ddag{}"  # not converged
        named = any(name in (text, f"{text}{mark}", f"{text} ‡") for name in names)
        fine = named and not any(row.startswith("[") for row in rows) and not unseen(content)
        return "held" if fine and f"% {text}, " in content else "wrong result"

    def compared_csv(self, number: int) -> Verdict:
        _, folder = self.comparison(number)
        if not (folder / "comparison.csv").is_file():
            return "traceback"
        with (folder / "comparison.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        text = TEXTS[number]
        systems = {row["system"] for row in rows if not row["system"].startswith("floor: ")} - {"plain", "popularity"}
        for name in {row["dataset"] for row in rows} | systems:
            back = name[1:] if re.match(r"'+[=+\-@\t\r]", name) and not is_number(name) else name
            if back not in (text, escaped(text)) or (FORMULA.match(name) and not is_number(name)):
                return "wrong result"
        numbers = [value for row in rows for key in ("mean", "difference") if (value := row[key])]
        return "held" if all(map(is_number, numbers)) and numbers else "wrong result"

    def compared_report(self, number: int) -> Verdict:
        _, folder = self.comparison(number)
        if not (folder / "report.html").is_file():
            return "traceback"
        text = escaped(TEXTS[number])
        return (
            "held"
            if of_page(folder / "report.html", f"on {escaped(title(TEXTS[number]))}", f"{text} against plain")
            else "wrong result"
        )

    def reported(self, number: int) -> Verdict:
        text = TEXTS[number]
        run, folder = self.copied(text, "choices.method", "dataset.name"), self.bench.new_folder("page")
        (run / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump([f"dataset.name={quoted(text)}"]))
        done = self.bench.command("report", f"run={quoted(str(run))}", f"folder={folder}", "maps=false")
        verdict = of_terminal(done)
        if verdict != "held":
            return verdict
        return "held" if of_page(folder / "report.html", f"{escaped(text)}/sasrec against") else "wrong result"

    def not_unicode(self, place: str) -> Verdict:
        """Refused in words, since YAML cannot hold it, or a whole run that can be read."""
        folder, value = self.bench.new_folder("run"), quoted(f"{self.bench.new_folder()}/x\udcffy")
        done = self.train(folder, self.bench.world(), "trainer.max_epochs=1", f"{place}={value}")
        if done.verdict != "held" or (done.code and "UTF-8" not in done.err):
            return "traceback"
        readable = done.code or self.bench.command("report", f"run={folder}", "maps=false").code == 0
        return "held" if readable else "wrong result"

    def sweep(self, text: str) -> Verdict:
        folder = self.bench.new_folder("sweeps") / text
        settings = [*self.bench.settings(self.outputs), f"hydra.sweep.dir={quoted(str(folder))}"]
        values = f"+note={quoted(text)},plain"
        done = self.bench.command("train", "-m", *settings, "method=plain", "trainer.max_epochs=1", values)
        if done.verdict != "held":
            return done.verdict
        file = folder / "comparison" / "comparison.json"
        jobs = list(folder.glob("*/metrics.json"))
        return "held" if done.code == 0 and file.is_file() and len(jobs) == 2 else "wrong result"


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def untex(cell: str) -> str:
    """The text that LaTeX sets."""
    names = {
        r"\textbackslash{}": "\0",
        r"\ddag{}": "‡",
        r"$\sim$": "~",
        "$^*$": "*",
        r"\^{}": "^",
        r"\textless{}": "<",
        r"\textgreater{}": ">",
        r"\textbar{}": "|",
        r"\textasciigrave{}": "`",
        r"{\char34}": '"',
        "{[}": "[",
        "{]}": "]",
        "{}": "",
    }
    for name, sign in names.items():
        cell = cell.replace(name, sign)
    return re.sub(r"\\([_%&#${}])", r"\1", cell).replace("\0", "\\")
