"""Two stages in one run: the embedding matrices learn alone, then everything does.

Both stages are one optimizer and one schedule. The body's parameters have groups of their own
whose learning rate is 0 up to the boundary, so AdamW leaves their bits alone (weight decay is
multiplied by the rate too) while it gathers their moments: the second stage needs no warm-up. The
boundary is a step of the stream, so it is the same after a kill and in a larger chained budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from langtransfer.config.training import name_embeddings

Factor = Callable[[int], float]


class EmbeddingsFirst:
    """Mixed into a Trainer: `embedding_steps` optimizer steps train the embeddings alone."""

    embedding_steps: int = 0
    """0: one stage, and the Trainer's own groups and schedule untouched."""
    _embedding_groups: int = 0
    model: Any
    optimizer: Any
    lr_scheduler: Any

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's optimizer, its groups cut in two; DeepSpeed calls this as well."""
        made = self.optimizer is not None
        super().create_optimizer(model)  # type: ignore[misc]  # the Trainer's
        if self.embedding_steps and not made:
            alone = embedding_parameters(self.model)
            self._embedding_groups = split_groups(self.optimizer, alone)
            if not alone:  # new rows of a vocabulary that has none: no first stage
                self.embedding_steps = 0
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The Trainer's schedule, held at 0 for the body until the embeddings had their steps."""
        made = self.lr_scheduler is not None
        scheduler = super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]
        if self.embedding_steps and not made:
            self.lr_scheduler = two_stages(scheduler, self._embedding_groups, self.embedding_steps)
        return self.lr_scheduler


def embedding_parameters(model: Any) -> set[int]:
    """Python ids of the trainable parameters of the embedding matrices, adapters included."""
    return {
        id(parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and name_embeddings(name.split("."))
    }


def split_groups(optimizer: Optimizer, embeddings: set[int]) -> int:
    """Cut a new optimizer's groups so that embeddings come first, apart; how many groups they are.

    Settings of each group, such as its weight decay, stay those of its parameters.
    """
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    first = 0
    for wanted in (True, False):
        for group in groups:
            chosen = [p for p in group["params"] if (id(p) in embeddings) == wanted]
            if chosen:
                optimizer.add_param_group({**group, "params": chosen})
        first = first or len(optimizer.param_groups)
    return first


def two_stages(scheduler: LambdaLR, embedding_groups: int, embedding_steps: int) -> LambdaLR:
    """The same schedule with every group after the first ones at 0 for so many steps."""
    shared = scheduler.lr_lambdas[0]
    body = _from_step(shared, embedding_steps)
    groups = len(scheduler.optimizer.param_groups)
    factors = [shared if i < embedding_groups else body for i in range(groups)]
    # Base rates are in the groups' initial_lr, which the first scheduler has set.
    return LambdaLR(scheduler.optimizer, factors)


def _from_step(factor: Factor, start: int) -> Factor:
    return lambda step: factor(step) if step >= start else 0.0
