"""The door: code a folder, a pattern, or one table in parts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hjc.apply.folder.inputs import Input, find_inputs, is_many, one_input
from hjc.apply.folder.manifest import check_settings, check_target, clear
from hjc.apply.folder.parts import Job
from hjc.apply.folder.processes import Alone, Processes
from hjc.apply.folder.ray_engine import RayData, check_ray
from hjc.apply.folder.run import Engine, Outcome, Show, run_job
from hjc.apply.step import Step
from hjc.classifiers.base import Classifier
from hjc.classifiers.load import stored_recipe
from hjc.classifiers.side import missing_side
from hjc.errors import check_choice, name_some
from hjc.evaluation.kind import TextKind
from hjc.files import locked, read_json
from hjc.tables import ReadOptions, find_column

ENGINES = ("local", "ray")


def code_files(
    step: Step,
    source: str,
    output: str,
    *,
    workers: int = 1,
    engine: str = "local",
    redo_changed: bool = False,
    overwrite: bool = False,
    input_format: str | None = None,
    output_format: str | None = None,
    part_rows: int = 16_384,
    rows: int = 4096,
    separator: str | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    safe_cells: bool = False,
    note: Callable[[str], None] = lambda sentence: None,
    show: Show = lambda rows, rate, share, before: None,
) -> Outcome:
    """Code every table of a folder or pattern into the folder ``output``, or one table into that file, part by part.

    The same call goes on where a killed one was, and codes what has been added since. What is written does not depend
    on ``workers``.

    Args:
        step: what is done. workers: processes; 1 is this one. Others import the script that calls this, so that it has
            to call it behind ``if __name__ == "__main__":``. engine: one of :data:`ENGINES`; of ``ray`` the workers
            are actors of a cluster, or of this machine.
        redo_changed: code finished inputs again that have changed; else they are an error. overwrite: begin anew.
        part_rows: rows of a part, all that a kill costs (each worker). rows: read and coded at a time.
        note: told sentences as they come up. show: told how far it is.

    Raises:
        FileNotFoundError, ValueError: no inputs, a column is missing, another job's folder, changed inputs.
        FileExistsError: outputs stand there that are not of such a job. BusyError: another process is at it.
        ChildProcessError: a worker was killed. ImportError: the engine is not installed.
    """
    check_choice("--engine", engine, ENGINES)
    if engine == "ray":
        check_ray()
    many, left = is_many(source), list[str]()
    if output == "-":
        raise ValueError("-o: give a folder for the outputs, or for one input a file")
    if Path(output).exists() and Path(output).is_dir() != many:
        raise ValueError(f"-o: {output} is {'a file; several inputs need a folder' if many else 'a folder'}")
    if many:
        inputs, left = find_inputs(source, output, input_format=input_format, output_format=output_format)
        target, work = Path(output), Path(output) / ".hjc"
    else:
        inputs = [one_input(source, output, input_format, output_format)]
        target, work = Path(output).parent, Path(f"{output}.hjc")
    job = Job(
        target=target, work=work, part_rows=part_rows, rows=rows, input_format=input_format, safe_cells=safe_cells,
        options=ReadOptions.given(separator=separator, encoding=encoding, sheet=sheet),
    )  # fmt: skip
    gone = _check_columns(step, job, inputs)
    check_target(work, target, inputs, overwrite)
    target.mkdir(parents=True, exist_ok=True)
    busy = f"another process is writing {output}; wait until it is done, or give another name"
    with locked(f"{work}.lock", busy):
        if overwrite:
            clear(work, target)
        step, chosen, model = _decided(step, job, inputs)
        if chosen:
            note(chosen)
        if other := check_settings(work, {**step.identity(), **job.identity()}):
            note(other)
        if left:
            note(f"left out of {source}, as their names are not those of tables: {name_some(left)}")
        if gone:
            note(gone)
        coding = _engine(engine, step, job, workers, model)
        del model  # other processes read their own
        outcome = run_job(job, inputs, coding, redo_changed=redo_changed, note=note, show=show)
        if not many and not outcome.failed:
            clear(work, target, outputs=False)
    return outcome


def _engine(name: str, step: Step, job: Job, workers: int, model: Classifier | None) -> Engine:
    """``model``: of the step, where this process has read it already."""
    if name == "ray":
        return RayData(step, job, workers)
    return Processes(step, job, workers) if workers > 1 else Alone(step, job, model)


def _check_columns(step: Step, job: Job, inputs: Sequence[Input]) -> str:
    """Look at the columns of the first input that can be read: a wrong option is told before a model is loaded.
    Returns a warning where it has not those of all side variables, else ""."""
    recipe = step.recipe()
    names = [*recipe.columns, *filter(None, [step.language_column])]
    for one in inputs:
        try:
            reader = job.open(one)
        except (ValueError, OSError):
            if len(inputs) == 1:
                raise
            continue
        with reader:
            for name in names:
                find_column(reader.columns, name, reader.label)
            return missing_side(recipe, reader.columns)
    return ""


def _decided(step: Step, job: Job, inputs: Sequence[Input]) -> tuple[Step, str, Classifier | None]:
    """The step with one of several text columns chosen once for all inputs and processes, by the first rows or as
    before; what is to be said of it; and the model, where it had to be read for that."""
    columns = step.recipe().columns
    if step.all_text or len(columns) < 2 or columns == stored_recipe(step.run_dir).columns:
        return step, "", None
    if (began := job.work / "job.json").exists():
        values = read_json(began)
        return replace(step, alone=values.get("alone"), all_text=bool(values.get("all_text"))), "", None
    model = step.model()
    kind = TextKind.of(model, step.recipe())
    if kind is None:
        return replace(step, all_text=True), "", model
    for one in inputs:
        try:
            with job.open(one) as reader:
                at = [find_column(reader.columns, name, reader.label) for name in columns]
                for chunk in reader.chunks():
                    kind.choose(step.recipe(), [chunk.texts(i, n) for i, n in zip(at, columns, strict=True)])
                    if kind.decided:
                        return replace(step, alone=kind.only, all_text=kind.only is None), kind.note(), model
        except (ValueError, OSError):  # told when it is its turn
            continue
    return replace(step, all_text=True), "", model
