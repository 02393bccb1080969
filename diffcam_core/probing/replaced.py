"""Run a step on from image states of one's own choosing at some layer.

Only the image span of one layer is replaced; everything that was computed before stays as it was:
the text around it, and what the answer's tokens had read up to there. So the answer is a function
of the image states at that layer alone, and with the states as they are it is the model's answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffcam_core.models.llada import Backbone
from diffcam_core.probing.forward import StepStates


class ReplacedStates:
    """The blocks above a layer, as a function of the image states there.

    Parameters
    ----------
    backbone : Backbone
    states : StepStates
        Of the step in question.
    layer : int
        Block whose output is replaced, or `INPUT_LAYER`.
    span : (int, int)
        First image position of the prompt and the first after it.
    """

    def __init__(
        self, backbone: Backbone, states: StepStates, layer: int, span: tuple[int, int]
    ) -> None:
        self._backbone = backbone
        self._alone = states.prompt_keys is not None
        self._prompt = states.prompt[layer + 1]
        self._answer = states.answer[layer + 1]
        self._above = range(layer + 1, backbone.n_layers)
        self._span = span

    @property
    def image(self) -> Tensor:
        """The states as they are, (N, d)."""
        return self._prompt[slice(*self._span)]

    def answer(self, image: Tensor) -> Tensor:
        """Output of the last block at the answer's positions.

        Parameters
        ----------
        image : Tensor
            (N, d) or (B, N, d), states of the whole span; gradients flow through.

        Returns
        -------
        Tensor
            (L, d) or (B, L, d).
        """
        batched = image if image.dim() == 3 else image[None]
        start, stop = self._span
        count = len(batched)
        prompt = torch.cat(
            (
                self._prompt[:start].expand(count, -1, -1),
                batched.to(self._prompt.dtype),
                self._prompt[stop:].expand(count, -1, -1),
            ),
            dim=1,
        )
        answer = self._answer.expand(count, -1, -1)
        found = self._run_apart(prompt, answer) if self._alone else self._run(prompt, answer)
        return found if image.dim() == 3 else found[0]

    def _run_apart(self, prompt: Tensor, answer: Tensor) -> Tensor:
        """Prompt first, without the answer; the answer reads its keys and values."""
        for index in self._above:
            prompt, pair = self._backbone.run_block(index, prompt, None, True)
            answer, _ = self._backbone.run_block(index, answer, pair)
        return answer

    def _run(self, prompt: Tensor, answer: Tensor) -> Tensor:
        """Prompt and answer as one sequence."""
        x = torch.cat((prompt, answer), dim=1)
        for index in self._above:
            x, _ = self._backbone.run_block(index, x)
        return x[:, prompt.shape[1] :]
