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
    Demo(1336, "Umbrella, ball and house", "Describe the image."),
    Demo(164, "Truck and cat", "What is left of the cat?"),
    Demo(1109, "Flamingo, bus and guitar", "Describe the image."),
    Demo(1296, "Camera and snail", "What is right of the camera?"),
    Demo(510, "Train, panda and owl", "How many objects are there?"),
    Demo(1038, "Frog, camera and elephant", "Describe the image."),
)
