"""Options are spelt once: whatever reads or writes a table takes the same, and groups of options reach the command."""

from dataclasses import dataclass
from typing import Annotated

import click
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from hjc.cli import app, session

READING = {"--input-format", "--separator", "--encoding", "--sheet"}
WRITING = {"--format", "--safe-cells", "--overwrite"}
#: commands without a table to read; the official files of taxonomies have readers of their own
OTHERS = {
    "train", "compare", "info", "relabel", "import", "graph", "show", "check", "from-taxonomy", "push",
    "serve", "adapt", "ready", "learn", "erase", "export", "user",
}  # fmt: skip


def commands(command: click.Command, name: str = "") -> dict[str, click.Command]:
    if not hasattr(command, "commands"):
        return {name: command}
    return {k: v for n, c in command.commands.items() for k, v in commands(c, n).items()}


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_same_options(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert (name in OTHERS) != (options >= READING), options
    writes = {"predict", "estimate", "review", "crosswalk", "revise", "translate", "sample", "split", "prepare",
              "label"}  # fmt: skip
    assert (name in writes) == (options >= WRITING), options


def test_one_spelling_of_each() -> None:
    for option in READING | {"--safe-cells", "--overwrite", "--quiet", "--restore-zeros", "--batch-size"}:
        said = {
            parameter.help
            for name, command in COMMANDS.items()
            if name not in OTHERS | {"translate"}  # whose batch is of segments
            for parameter in command.params
            if option in parameter.opts
        }
        assert len(said) == 1, (option, said)


def test_groups_of_options_come_together() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Colours:
        sky: Annotated[str, typer.Option(help="Colour of the sky.")] = "blue"
        grass: Annotated[list[str] | None, typer.Option("-g", "--grass")] = None

    def paint(wall: str, *, colours: Colours, times: int = 1) -> None:
        """Paint."""
        if times < 1:
            raise ValueError("--times: got none")
        typer.echo(f"{wall} {colours} {times}")

    own = typer.Typer()
    own.callback()(lambda: None)
    session.add(own, "paint", paint)
    run = CliRunner().invoke
    done = run(own, ["paint", "white", "-g", "green", "-g", "brown", "--times", "2"])
    assert done.output.split(" ", 1)[1].strip().endswith("Colours(sky='blue', grass=['green', 'brown']) 2")
    assert "--sky" in run(own, ["paint", "--help"]).output
    assert run(own, ["paint", "white", "--times", "0"]).exit_code == 2


def test_tables_of_other_programs_in_the_data_commands(call, tmp_path) -> None:
    table = pd.DataFrame({"text": ["żółć", "ćma", "łódź", "kot"] * 3, "code": ["2221", "2221", "5120", "5120"] * 3})
    table.assign(id=range(12)).to_csv(tmp_path / "in.txt", index=False, sep="|", encoding="cp1250")
    code, _, err = call("data", "split", tmp_path / "in.txt", "-o", tmp_path / "out.csv")
    assert code == 2 and "cp1250" in err
    how = ("--encoding", "cp1250", "--separator", "|")
    assert call("data", "split", tmp_path / "in.txt", "-o", tmp_path / "out.csv", *how)[0] == 0
    assert pd.read_csv(tmp_path / "out.csv", sep="|")["text"].tolist() == table["text"].tolist()
    assert call("data", "manifest", tmp_path / "in.txt", "-o", tmp_path / "m", *how)[0] == 0
    table.assign(text="@SUM(A1)").to_excel(tmp_path / "in.xlsx", index=False, sheet_name="ads")
    out = tmp_path / "safe.csv"
    code, _, err = call("data", "split", tmp_path / "in.xlsx", "-o", out, "--sheet", "ads", "--safe-cells")
    assert code == 0 and pd.read_csv(out)["text"].tolist() == ["'@SUM(A1)"] * 12, err
