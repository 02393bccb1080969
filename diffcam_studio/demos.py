"""The demo scenes of the welcome page: seeds that training never uses, and their prompts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Demo:
    """A held-out sticker scene and what the model is asked about it."""

    seed: int
    title: str
    prompt: str

    @property
    def key(self) -> str:
        """Name of the demo in signals and settings."""
        return f"demo-{self.seed}"

    @property
    def path(self) -> str:
        """Address of its picture for the I/O thread, which draws it."""
        return f"scene:{self.seed}"


DEMOS: tuple[Demo, ...] = (
    Demo(7, "Scene 7", "Describe the image."),
    Demo(8, "Scene 8", "Describe the image."),
    Demo(9, "Scene 9", "Describe the image."),
    Demo(10, "Scene 10", "Describe the image."),
    Demo(11, "Scene 11", "Describe the image."),
    Demo(12, "Scene 12", "Describe the image."),
)
