"""How a new run comes about: the sheet, a demo scene, or the picture that was just read."""

from __future__ import annotations

from dataclasses import replace

from diffcam_studio.controller import Controller
from diffcam_studio.jobs import Picture
from diffcam_studio.presenter.sheet import image_warning, sheet_facts
from diffcam_studio.views.run_sheet import RunSheet
from diffcam_studio.views.run_wish import RunWish
from diffcam_studio.views.welcome import DemoCard


class NewRuns:
    """The run sheet and the demo scenes, and what they start.

    Parameters
    ----------
    controller
        What starts the jobs.
    sheet
        The run sheet over the window.
    """

    def __init__(self, controller: Controller, sheet: RunSheet) -> None:
        self._c = controller
        self._sheet = sheet
        self.demos: dict[str, DemoCard] = {}
        self.demo_paths: dict[str, str] = {}
        self._demo_waiting = ""
        sheet.run_requested.connect(self.start)
        controller.demo_read.connect(self._start_demo)

    def set_demos(self, cards: tuple[DemoCard, ...], paths: dict[str, str]) -> None:
        """Offer demo scenes; ``paths`` says where each picture comes from."""
        self.demos = {card.key: card for card in cards}
        self.demo_paths = paths
        for key, path in paths.items():
            self._c.ask_demo_picture(key, path)

    def run_demo(self, key: str) -> None:
        """Start a run on a demo scene: one click, no questions."""
        path = self.demo_paths.get(key)
        if path is not None and not self._demo_waiting:
            self._demo_waiting = key
            self._c.load_demo(key, path)

    def _start_demo(self, key: str, picture: Picture | None) -> None:
        """Run a demo whose picture was read; one that cannot be read was told already."""
        self._demo_waiting = ""
        card = self.demos.get(key)
        if picture is None or card is None:
            return
        if not self._sheet.isVisible():
            # The sheet begins with the last picture; one that is being filled in keeps its own.
            self._c.picture = picture
        named = replace(picture, name=card.title.lower().replace(", ", "-").replace(" ", "-"))
        self._c.start_job(prompt=card.prompt, picture=named)

    def take_picture(self) -> None:
        """Open the sheet on a picture that was read."""
        if self._c.picture is not None:
            self._fill(self._c.picture)
            self._sheet.open()

    def open_sheet(self) -> None:
        """Open the sheet on the image at hand."""
        c = self._c
        facts = c.facts
        if c.picture is None and facts is not None and facts.image is not None:
            c.picture = Picture(facts.image, facts.title, scene=facts.scene)
        self._fill(c.picture)
        if facts is not None and facts.prompt:
            self._sheet.set_prompt(facts.prompt)
        self._sheet.open()

    def start(self, wish: RunWish) -> None:
        """Queue the run that the sheet describes."""
        picture = self._c.picture
        if picture is not None:
            self._c.start_job(
                prompt=wish.prompt,
                picture=picture,
                layers=wish.layers,
                steps=wish.steps,
                tokens=wish.tokens,
                method=wish.method,
                contrast=wish.contrast,
                generation=wish.generation,
                seed=wish.seed,
            )

    def take_model(self) -> None:
        """Check what is filled in against a model that was just loaded."""
        c = self._c
        self._sheet.set_facts(sheet_facts(c.model, c.preferences.seconds_per_map))

    def _fill(self, picture: Picture | None) -> None:
        c = self._c
        self.take_model()
        if picture is not None:
            warning = image_warning(c.model, picture)
            self._sheet.set_image(picture.pixels, picture.name, warning)
