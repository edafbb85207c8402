"""Instruction pairs, and the drawing of task items that `questions` shares."""

import random
from collections.abc import Iterator, Set
from dataclasses import dataclass

from langtransfer.corpus.atlas.draw import Draw, Vocabulary, vocabulary
from langtransfer.corpus.atlas.facts import Ref, is_held_out
from langtransfer.corpus.atlas.speaker import Speaker
from langtransfer.corpus.atlas.tasks import CATEGORIES, TASKS, TaskSpec
from langtransfer.corpus.atlas.templates import Templates
from langtransfer.errors import UserError

MOST_TRIES = 2_000


@dataclass(frozen=True)
class Drawn:
    """One item of a task, in no language yet."""

    category: str
    task: str
    variant: float  # in [0, 1): which wording of the instruction
    slots: dict[str, Ref]
    wrong: tuple[Ref, ...]

    @property
    def spec(self) -> TaskSpec:
        return TASKS[self.category][self.task]

    @property
    def item(self) -> str:
        """What is held out: category, task and the slots that make the item."""
        return "|".join([self.category, self.task, *(str(self.slots[s]) for s in self.spec.item)])


def draw_item(
    category: str, name: str, words: Vocabulary, *, held_out: bool, seen: Set[str]
) -> Drawn:
    """An item on the wanted side of the split that is not in `seen`; decided by `name`."""
    rng = random.Random(name)
    for _ in range(MOST_TRIES):
        drawn = _draw(category, rng, words)
        if is_held_out(drawn.item) == held_out and drawn.item not in seen:
            return drawn
    raise UserError(f"items of {category}", len(seen), "ask for fewer: the atlas has no more")


def _draw(category: str, rng: random.Random, words: Vocabulary) -> Drawn:
    task = rng.choice(sorted(TASKS[category]))
    spec, draw = TASKS[category][task], Draw(rng, words)
    spec.draw(draw)
    wrong = (*(draw.slots[slot] for slot in spec.wrong), *draw.wrong)
    return Drawn(category, task, rng.random(), draw.slots, wrong)


def texts(speaker: Speaker, drawn: Drawn) -> tuple[str, str, str]:
    """(instruction, input, output) of an item; input may be empty."""
    frames = speaker.templates.tasks[drawn.category][drawn.task]
    instruction = frames.instruction[int(drawn.variant * len(frames.instruction))]
    return (
        speaker.fill(instruction, drawn.slots),
        speaker.fill(frames.input, drawn.slots),
        speaker.fill(frames.output, drawn.slots),
    )


def instructions(
    templates: Templates, count: int, *, seed: int, start: int = 0
) -> Iterator[dict[str, str]]:
    """Yield `count` pairs {"id", "category", "instruction", "input", "output"} from `start` on.

    Categories take turns. No item of `questions` is among them, whatever the seeds.
    """
    speaker, words = Speaker(templates), vocabulary(templates)
    for index in range(start, start + count):
        category = CATEGORIES[index % len(CATEGORIES)]
        name = f"instructions:{seed}:{index}"
        drawn = draw_item(category, name, words, held_out=False, seen=frozenset())
        instruction, given, output = texts(speaker, drawn)
        yield {
            "id": f"instruction-{index:06d}",
            "category": category,
            "instruction": instruction,
            "input": given,
            "output": output,
        }
