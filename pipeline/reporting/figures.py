"""All figures of a report: each is drawn where there are data for it, with its numbers beside it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure

from pipeline.reporting import curves, figure_curves, figure_damage, figure_depth, figure_inside, inside, style
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.markdown import Md, escape
from pipeline.store.records import write_bytes
from resnet.study import Study

FIRST, DEGRADATION, INSIDE, DAMAGE = "first", "degradation", "inside", "damage"  # where in the report they stand


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """figures/NAME.png, svg/NAME.svg and numbers/NAME.csv. The caption is markdown of our own."""

    name: str
    section: str
    alt: str
    caption: str
    draw: Callable[[], matplotlib.figure.Figure]
    numbers: str

    @property
    def markdown(self) -> Md:
        files = f"Also as [SVG](svg/{self.name}.svg) and [numbers](numbers/{self.name}.csv)."
        return Md(f"![{self.alt}](figures/{self.name}.png)\n\n*{self.caption} {files}*")


def draw(study: Study, inputs: Inputs, folder: Path) -> list[Figure]:
    """Draws all that there are data for into a report's folder; the curves and the errors by depth always.

    The bitmaps have a folder of their own, for `dvc plots` shows all that is in it.
    """
    png, svg, numbers = (folder / part for part in ("figures", "svg", "numbers"))
    for part in (png, svg, numbers):
        part.mkdir()
    found = list(_found(study, inputs))
    for figure in found:
        style.save(figure.draw, png / f"{figure.name}.png", svg / f"{figure.name}.svg")
        write_bytes(numbers / f"{figure.name}.csv", figure.numbers.encode())
    return found


def of(section: str, figures: Sequence[Figure]) -> list[Md]:
    return [figure.markdown for figure in figures if figure.section == section]


def _found(study: Study, inputs: Inputs) -> Iterator[Figure]:
    yield from _errors(study, inputs)
    yield from _signals(study)
    yield from _damage(study, inputs)


def _errors(study: Study, inputs: Inputs) -> Iterator[Figure]:
    diverged = any(m.record.status == "diverged" for m in inputs.measured)
    cut_short = " A run that diverged is in the curve up to where it did." if diverged else ""
    yield Figure(
        name="curves",
        section=FIRST,
        alt="Error curves: training thin, validation bold; plain networks left, residual networks right",
        caption="Error against iteration, mean over seeds with a band of one standard deviation; dotted lines are "
        f"where the learning rate falls.{cut_short} In the manner of the paper's "
        f"{figure_curves.in_the_manner_of(study)}.",
        draw=lambda: figure_curves.draw_curves(study),
        numbers=curves.as_csv(study.networks),
    )
    pair = figure_curves.shallow_and_deep(study)
    if pair is not None:
        yield Figure(
            name="plain",
            section=DEGRADATION,
            alt="Training and validation error of a shallow and a deep plain network",
            caption=f"A shallow and a deep plain network, {escape(pair[0].name)} and {escape(pair[1].name)}. In the "
            "manner of the paper's Fig. 1, whose right panel is the test error.",
            draw=lambda: figure_curves.draw_shallow_and_deep(study, pair),
            numbers=curves.as_csv(pair),
        )
    yield Figure(
        name="depth",
        section=DEGRADATION,
        alt="Final errors by depth: a dot for each seed, lines through the means",
        caption="Errors at the end of training by depth. One dot is one seed; the lines go through the means of the "
        "networks that are built as in the paper.",
        draw=lambda: figure_depth.draw_depth(study),
        numbers=figure_depth.as_csv(study),
    )


def _signals(study: Study) -> Iterator[Figure]:
    responses = inside.responses(study.networks)
    if responses:
        yield Figure(
            name="responses",
            section=INSIDE,
            alt="Standard deviation of the layers' responses, plain networks dashed, residual networks solid",
            caption="Standard deviation of the output of each 3×3 layer of the trained networks, behind batch "
            "normalisation and before ReLU and addition. In the manner of the paper's Fig. 7.",
            draw=lambda: figure_inside.draw_responses(responses),
            numbers=inside.as_csv(responses, "layer", "response_sd"),
        )
    gradients = inside.gradients(study.networks)
    if gradients:
        yield Figure(
            name="gradients",
            section=INSIDE,
            alt="Norm of the gradient by convolution at the start and amid training",
            caption="Norm of the loss's gradient by the weights of each convolution, from the first to the last, in "
            "the first iteration (dotted) and amid training (solid). Vanishing gradients would fall to the left.",
            draw=lambda: figure_inside.draw_gradients(gradients),
            numbers=inside.gradients_csv(gradients),
        )


def _damage(study: Study, inputs: Inputs) -> Iterator[Figure]:
    guessing = 100.0 * (1 - 1 / study.classes)
    lesions = inside.lesions(study.networks, inputs)
    if lesions:
        yield Figure(
            name="lesions",
            section=DAMAGE,
            alt="Error after leaving out one block, by block",
            caption="Validation error when one block alone is left out of the trained network; the dotted line is the "
            "whole network. Without a shortcut only blocks that keep the shape can be left out.",
            draw=lambda: figure_damage.draw_lesions(lesions, guessing),
            numbers=inside.as_csv(lesions, "block", "error_percent"),
        )
    noise = inside.noise(study.networks)
    if noise:
        yield Figure(
            name="noise",
            section=DAMAGE,
            alt="Error against the strength of noise on the images",
            caption="Validation error under Gaussian noise on the images, by its standard deviation.",
            draw=lambda: figure_damage.draw_noise(noise, guessing),
            numbers=inside.as_csv(noise, "noise_sd", "error_percent"),
        )
