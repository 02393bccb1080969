"""The commands and their options. What they do is in the modules that they import when called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from diffcam_core import __version__

app = typer.Typer(
    name="diffcam",
    help="See, prove and publish where in an image a diffusion multimodal language model took a "
    "word from.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", help="embedded, a checkpoint folder, or a downloaded hub id."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
DtypeOption = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16; default: as stored.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the sampler.")]


def build_command() -> Any:
    """Return the click command of all of this."""
    return typer.main.get_command(app)


def usage_error_type() -> type[Exception]:
    """Return the exception class of wrong usage.

    typer 0.20 and later carry their own copy of click, earlier ones use the package; the base
    class of both is reached through the one name that typer always exports.
    """
    return next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diffcam {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. Fits every command.")
    ] = False,
) -> None:
    # Both options act elsewhere: the callback above, and `diffcam_core.cli.main`.
    del version, debug


def _typed(context: typer.Context) -> frozenset[str]:
    """Names of the parameters that the user gave, even if as their default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, how in sources.items() if how and how.name != "DEFAULT")


@app.command()
def explain(
    context: typer.Context,
    image: Annotated[
        Path | None,
        typer.Argument(help="The image. With --resume it may be left out: the file holds it."),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="The question.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run file; default: IMAGE's name with .dcam."),
    ] = None,
    model: ModelOption = "embedded",
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    layers: Annotated[str, typer.Option(help="all, or block numbers like 0,3,5-8.")] = "all",
    steps: Annotated[
        str, typer.Option(help="all, commit (each token at the step that wrote it), or numbers.")
    ] = "all",
    tokens: Annotated[
        list[str] | None,
        typer.Option(
            "--tokens",
            "-t",
            help="Words or positions, like cat,dog,3-5; may be repeated. "
            "Default: the answer up to its first end token.",
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="Attribution method.")] = "diffusion-cam",
    contrast: Annotated[
        str, typer.Option(help="none, runner-up, log-probability, or word with --distractor.")
    ] = "none",
    distractor: Annotated[
        str | None, typer.Option(help="Subtract this word's score from the token's.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Length of the answer canvas.")] = None,
    denoising_steps: Annotated[int | None, typer.Option(help="Denoising steps in total.")] = None,
    block_length: Annotated[int | None, typer.Option(help="Tokens written as one block.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="shift, uniform, cosine or logit_normal.")
    ] = None,
    shift: Annotated[float | None, typer.Option(help="Parameter of the shift schedule.")] = None,
    remasking: Annotated[
        str | None, typer.Option(help="low_confidence, entropy, margin or random.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    prefix_cache: Annotated[
        bool | None,
        typer.Option("--prefix-cache/--no-prefix-cache", help="Default: as the model likes it."),
    ] = None,
    seed: SeedOption = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Finish an unfinished run of the same request.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run file.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let a model answer a question about an image and map where each word came from.

    Progress goes to standard error. Ctrl-C keeps every finished step for --resume.
    """
    from diffcam_core.cli.explaining import ExplainOptions, run_explain

    options = ExplainOptions(
        image=image,
        prompt=prompt,
        out=out,
        model=model,
        device=device,
        dtype=dtype,
        layers=layers,
        steps=steps,
        tokens=tokens,
        method=method,
        contrast=contrast,
        distractor=distractor,
        generation={
            "max_new_tokens": max_new_tokens,
            "steps": denoising_steps,
            "block_length": block_length,
            "schedule": schedule,
            "shift": shift,
            "remasking": remasking,
            "temperature": temperature,
            "prefix_cache": prefix_cache,
        },
        seed=seed,
        resume=resume,
        overwrite=overwrite,
        as_json=as_json,
        typed=_typed(context),
    )
    raise typer.Exit(run_explain(options))


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the files; made if missing.")
    ] = Path("diffcam-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Which sticker scene.")] = 1336,
    steps: Annotated[str, typer.Option(help="all, commit, or numbers.")] = "all",
    as_json: JsonOption = False,
) -> None:
    """Do the main job once on the embedded model: a scene, its run file and a figure."""
    from diffcam_core.cli.explaining import run_demo

    raise typer.Exit(run_demo(out, seed=seed, steps=steps, as_json=as_json))


@app.command()
def info(
    run: Annotated[Path, typer.Argument(help="A run file, finished or not.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a run file holds."""
    from diffcam_core.cli.showing import show_run

    show_run(run, as_json=as_json)


@app.command()
def figure(
    run: Annotated[Path, typer.Argument(help="A run file.")],
    token: Annotated[str, typer.Option("--token", "-t", help="A word or a position.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The figure: .pdf, .svg or .png.")],
    kind: Annotated[
        str,
        typer.Option(
            help="token (one map), trajectory (over the steps), layers (one map for each), "
            "or ladder (one for each refinement module)."
        ),
    ] = "token",
    step: Annotated[str, typer.Option(help="commit, or a step number.")] = "commit",
    layer: Annotated[
        int | None, typer.Option(min=0, help="Default: the run's default layer.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Refinement: raw, released, paper or studio; default: studio."),
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="Further refinements beside it, such as raw.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Default: the run's first method.")] = None,
    normalise: Annotated[
        str, typer.Option(help="What counts as 1: the maximum of the trajectory, or of the map.")
    ] = "trajectory",
    colour_map: Annotated[str | None, typer.Option(help="Name of a colour map.")] = None,
    style: Annotated[str, typer.Option(help="acl, neurips, nature or slide.")] = "acl",
    as_json: JsonOption = False,
) -> None:
    """Draw where a word comes from: the image under its map, with colour bar and caption."""
    from diffcam_core.cli.showing import FigureOptions, draw_figure

    options = FigureOptions(
        token=token,
        kind=kind,
        step=step,
        layer=layer,
        preset=preset,
        method=method,
        compare=tuple(compare or ()),
        normalise=normalise,
        colour_map=colour_map,
        style=style,
    )
    draw_figure(run, out, options, as_json=as_json)


@app.command()
def models(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Checkpoint folders to look into.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the embedded model, models of known families in the hub cache, and given folders."""
    from diffcam_core.cli.showing import list_models

    list_models(folders or [], as_json=as_json)


@app.command()
def scenes(
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture, a PNG.")],
    seed: Annotated[int, typer.Option(min=0, help="Which scene.")] = 0,
    mask: Annotated[
        Path | None,
        typer.Option(help="Also write the masks: 0 ground, then objects in caption order."),
    ] = None,
    objects: Annotated[int | None, typer.Option(min=1, max=4, help="How many objects.")] = None,
    size: Annotated[int, typer.Option(help="Side in pixels, 32 to 1024.")] = 384,
    as_json: JsonOption = False,
) -> None:
    """Make a sticker scene, the kind of picture that the embedded model reads."""
    from diffcam_core.cli.showing import make_scene_files

    make_scene_files(out, mask, seed=seed, objects=objects, size=size, as_json=as_json)


@app.command()
def evaluate(
    dataset: Annotated[
        str, typer.Option(help="scenes, coco, grandf, openpsg, or folder (your own).")
    ] = "scenes",
    quality: Annotated[
        bool, typer.Option("--quality", help="How right the model's words are (scenes).")
    ] = False,
    localisation: Annotated[
        bool,
        typer.Option("--localisation", help="One method, printed, nothing written (scenes)."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Results folder: compare methods and refinements."),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the dataset lies.")] = None,
    part: Annotated[str | None, typer.Option(help="Part of it, such as val2017.")] = None,
    methods: Annotated[str, typer.Option(help="Names, or all.")] = "all",
    presets: Annotated[
        str,
        typer.Option(help="raw, released, paper, studio, ablation, or pipelines saved as .json."),
    ] = "raw,released,paper,studio,ablation",
    metrics: Annotated[
        str,
        typer.Option(help="localisation, answer, insertion-deletion, faithfulness, or names."),
    ] = "localisation",
    layers: Annotated[str, typer.Option(help="all, or block numbers like 0,3,5-8.")] = "all",
    steps: Annotated[
        str, typer.Option(help="commit (the step that wrote the word), first, last, or a number.")
    ] = "commit",
    table_layer: Annotated[
        int | None, typer.Option(help="Layer of the tables; default: the model's own.")
    ] = None,
    layers_from: Annotated[
        Path | None,
        typer.Option(help="Results folder of other items: each pair's best layer there."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first items; default: 300 scenes, or all.")
    ] = None,
    method_limit: Annotated[
        list[str] | None,
        typer.Option(help="METHOD=NUMBER or =all; by default occlusion, rise and faithfulness=30."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="METHOD/REFINEMENT that the others are tested against.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="METHOD/REFINEMENT whose constants are varied one at a time."),
    ] = None,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep the raw maps of the measured words.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a folder of the same options.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute items with failures again.")
    ] = False,
    executor: Annotated[
        str, typer.Option(help="Where the work runs: local, processes, ray or slurm.")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Default: what the machine has.")] = (
        None
    ),
    ray_address: Annotated[
        str | None, typer.Option(help="A running Ray cluster; default: one on this machine.")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, such as partition=gpu or minutes=120.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of each worker.")] = 1,
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw the plots.")] = True,
    method: Annotated[str, typer.Option(help="Attribution method, for --localisation.")] = (
        "diffusion-cam"
    ),
    contrast: Annotated[str, typer.Option(help="none, runner-up or log-probability.")] = "none",
    model: ModelOption = "embedded",
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="Scenes, for --quality, --localisation.")
    ] = 1000,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first scene.")] = 0,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure a model and its explanations on pictures of which everything is known.

    With --out every method, refinement and layer is measured and the results are kept in a folder:
    rows, summary, tables and plots. Ctrl-C, or a kill, loses the item in work; --resume goes on.
    """
    if out is not None and not (quality or localisation):
        from diffcam_core.cli.benchmarking import BenchmarkOptions, run_benchmark

        benchmark = BenchmarkOptions(
            out=out,
            dataset=dataset,
            folder=folder,
            part=part,
            methods=methods,
            presets=presets,
            metrics=metrics,
            layers=layers,
            steps=steps,
            contrast=contrast,
            table_layer=table_layer,
            layers_from=layers_from,
            limit=limit,
            method_limits=tuple(method_limit or ()),
            first_seed=first_seed,
            seed=seed,
            threads=threads,
            keep_maps=keep_maps,
            sweeps=tuple(sweep or ()),
            baseline=baseline,
            model=model,
            device=device,
            dtype=dtype,
            executor=executor,
            workers=workers,
            ray_address=ray_address,
            slurm=tuple(slurm or ()),
            resume=resume,
            retry_failed=retry_failed,
            plots=plots,
            as_json=as_json,
        )
        raise typer.Exit(run_benchmark(benchmark))
    from diffcam_core.cli.evaluating import run_evaluate

    raise typer.Exit(
        run_evaluate(
            dataset,
            quality=quality,
            localisation=localisation,
            method=method,
            contrast=contrast,
            model=model,
            device=device,
            dtype=dtype,
            count=count,
            first_seed=first_seed,
            as_json=as_json,
        )
    )
