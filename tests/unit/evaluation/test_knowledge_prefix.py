"""Shared prefixes: the stock backend's log-likelihoods and predictions with a part of its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers.modeling_outputs import CausalLMOutput

from langtransfer.config.training import ModelShape
from langtransfer.errors import UserError
from langtransfer.evaluation.knowledge import (
    ScoringModel,
    compile_templates,
    run_task,
    task_configs,
)
from langtransfer.evaluation.prefix_scoring import (
    WORTH_A_PASS,
    PrefixScorer,
    Shared,
    can_share,
    common_lengths,
    find_shared,
    merge_requests,
    plan_batches,
)
from langtransfer.pretraining.models import load_tokenizer, new_model
from langtransfer.vocabulary.contract import read_contract
from tests.unit.evaluation.knowledge_tasks import (
    LETTER_TASK,
    TEXT_TASK,
    assert_agrees,
    close,
    item,
    write_task,
)

POSITIONS = 640
Pairs = list[tuple[str, str]]
MakeBackend = Callable[..., Any]


# -- what is run once, and how the rest is batched --


@st.composite
def requests(draw: st.DrawFn) -> list[tuple[list[int], list[int]]]:
    """Contexts that begin with one another's beginnings, and short continuations."""
    ids = st.integers(0, 2)
    found: list[tuple[list[int], list[int]]] = []
    for _ in range(draw(st.integers(1, 8))):
        earlier = draw(st.sampled_from(found))[0] if found else []
        kept = earlier[: draw(st.integers(0, len(earlier)))]
        new = draw(st.integers(0, 2)) * [draw(ids)] * WORTH_A_PASS
        context = [*kept, *new, draw(ids)]
        found.append((context, draw(st.lists(ids, min_size=1, max_size=3))))
    return found


@given(requests(), st.integers(4, 120))
def test_every_request_is_scored_once_after_its_own_tokens(
    pairs: list[tuple[list[int], list[int]]], limit: int
) -> None:
    sequences = merge_requests(pairs, limit)
    tree = find_shared(common_lengths(sequences), 0, len(sequences))
    reached: list[int] = []

    def visit(node: Shared, prefix: list[int]) -> None:
        for place in node.alone:
            tokens = sequences[place].tokens.tolist()
            assert tokens[: node.length] == prefix
            assert node.length <= sequences[place].first
            for request, continuation in sequences[place].continuations:
                context, asked = pairs[request]
                assert continuation == asked
                assert tokens == [*context, *asked][-(limit + 1) : -1]
                reached.append(request)
        for group in node.deeper:
            assert group.length >= node.length + WORTH_A_PASS
            assert len(group.alone) + len(group.deeper) >= 1
            visit(group, sequences[group.any_place()].tokens[: group.length].tolist())

    visit(tree, [])
    assert sorted(reached) == list(range(len(pairs)))


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 8))
def test_batches_hold_every_row_with_the_least_padding(lengths: list[int], limit: int) -> None:
    def cost(batches: Sequence[Sequence[int]]) -> int:
        return sum(WORTH_A_PASS + len(b) * max(lengths[n] for n in b) for b in batches)

    batches = plan_batches(lengths, limit)
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= limit for batch in batches)
    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    assert cost(batches) <= cost([order[n : n + limit] for n in range(0, len(order), limit)])
    assert cost(batches) <= cost([[n] for n in order])


# -- against the stock backend --


def question(number: int) -> str:
    row = item(number, "rocks")
    words = "of all the stones " * (number % 5)
    return f"Question: {words}{row['question']} A. {row['A']} B. {row['B']} Answer:"


FEW_SHOT = "".join(f"{question(90 + n)} {'ABCD'[n % 4]}\n\n" for n in range(5))
CHINESE = (
    "以下是关于肯尼亚的单项选择题。\n\n" + "中国的首都是？\nA. 北京\nB. 内罗毕\n答案：A\n\n" * 5
)
OPTIONS = ["red", "blue", "blue as the sky", "blue as the capital of Kenya", "今天是星期一"]
LONG = "The capital of France is Paris. " * 80
CASES: dict[str, Pairs] = {
    "letters": [(FEW_SHOT + question(n), f" {x}") for n in range(19) for x in "ABCD"],
    "letters without examples": [(question(n), f" {x}") for n in range(9) for x in "ABCD"],
    "texts": [(FEW_SHOT + question(n), f" {text}") for n in range(6) for text in OPTIONS],
    "texts without examples": [(question(n), f"\n{text}") for n in range(6) for text in OPTIONS],
    "chinese": [
        (f"{CHINESE}今天是星期{n}？\nA. 北京\nB. 一\n答案：", x)
        for n in "一二三四五六日"
        for x in "ABCD"
    ],
    "cut": [
        (f"{LONG if n % 3 else FEW_SHOT}{question(n)}", f" {x}") for n in range(9) for x in "ABC"
    ],
    "one question": [(FEW_SHOT + question(1), f" {x}") for x in "ABCD"],
    "one request": [(question(1), " A")],
    "odd": [
        ("", "red"),
        ("", "blue as the sky"),
        ("Answer: ", "A"),  # the space belongs to what is scored
        ("Answer: ", "A"),
        ("<s>Question: red?", " A"),  # begins with bos already
        (FEW_SHOT, FEW_SHOT),
        (FEW_SHOT, FEW_SHOT + " A"),
    ],
}


def instances(pairs: Pairs) -> list[Instance]:
    return [
        Instance("loglikelihood", {}, pair, n, metadata=("test", n, 1))
        for n, pair in enumerate(pairs)
    ]


def assert_scores(found: Any, expected: Any) -> None:
    assert [s[0] for s in found] == close([s[0] for s in expected])
    assert [s[1] for s in found] == [s[1] for s in expected]


@pytest.fixture(scope="module")
def make_backend(checkpoint: Path) -> MakeBackend:
    """A backend around a random LLaMA; the same one for the same shape."""
    contract = read_contract(checkpoint / "vocabulary")
    tokenizer = load_tokenizer(checkpoint / "vocabulary")

    def make(kind: type[HFLM], tied: bool = False, **options: Any) -> Any:
        shape = ModelShape(
            hidden_size=32,
            intermediate_size=64,
            layers=2,
            heads=4,
            key_value_heads=2,
            max_position_embeddings=POSITIONS,
            initializer_range=0.1,
            tie_embeddings=tied,
        )
        model = new_model(shape, contract, seed=5).eval().to(options.pop("dtype", torch.float32))
        settings = {"batch_size": 4, "backend": "causal"} | options
        return kind(pretrained=model, tokenizer=tokenizer, **settings)

    return make


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("case", CASES)
def test_log_likelihoods_are_the_stock_ones(
    make_backend: MakeBackend, case: str, tied: bool
) -> None:
    asked = instances(CASES[case])
    expected = make_backend(HFLM, tied).loglikelihood(asked, disable_tqdm=True)
    backend = make_backend(ScoringModel, tied)
    assert backend.shares_prefixes
    assert_scores(backend.loglikelihood(asked, disable_tqdm=True), expected)
    assert bool(backend.cut) == (case in ("cut", "odd"))


@pytest.mark.parametrize("options", [{"add_bos_token": False}, {"max_length": 100}], ids=str)
def test_options_of_the_harness_hold(make_backend: MakeBackend, options: dict[str, Any]) -> None:
    asked = instances(CASES["letters"] + CASES["texts"])
    expected = make_backend(HFLM, **options).loglikelihood(asked, disable_tqdm=True)
    found = make_backend(ScoringModel, **options).loglikelihood(asked, disable_tqdm=True)
    assert_scores(found, expected)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_size_does_not_matter(make_backend: MakeBackend, batch: int) -> None:
    asked = instances(CASES["letters"] + CASES["texts"])
    expected = make_backend(ScoringModel).loglikelihood(asked, disable_tqdm=True)
    backend = make_backend(ScoringModel, batch_size=batch)
    found = backend.loglikelihood(asked, disable_tqdm=True)
    assert_scores(found, expected)


def test_other_requests_are_the_stock_backend_s(make_backend: MakeBackend) -> None:
    texts = [question(1), LONG, "今天是星期一。"]
    rolling = [Instance("loglikelihood_rolling", {}, (t,), 0, ("test", 0, 1)) for t in texts]
    options = {"until": ["\n\n"], "max_gen_toks": 9, "do_sample": False}
    written = [Instance("generate_until", {}, (t, options), 0, ("test", 0, 1)) for t in texts]
    stock, ours = make_backend(HFLM), make_backend(ScoringModel)
    expected = stock.loglikelihood_rolling(rolling, disable_tqdm=True)
    found = ours.loglikelihood_rolling(rolling, disable_tqdm=True)
    assert found == pytest.approx(expected, rel=1e-6)
    generated = ours.generate_until(written, disable_tqdm=True)
    assert generated == stock.generate_until(written, disable_tqdm=True)
    assert any(generated)


def test_the_model_s_work_is_what_is_not_shared(make_backend: MakeBackend) -> None:
    pairs = [(f"{FEW_SHOT}{question(n)} (", x) for n in range(19) for x in "ABCD"]
    asked = instances(pairs)

    def work(backend: Any) -> tuple[int, int]:
        tokens, scored = 0, 0

        def embedded(_: Any, arguments: tuple[Any, ...]) -> None:
            nonlocal tokens
            tokens += arguments[0].numel()

        def predicted(_: Any, arguments: tuple[Any, ...], output: Any) -> None:
            nonlocal scored
            scored += output.shape[0] * output.shape[1]

        backend.model.get_input_embeddings().register_forward_pre_hook(embedded)
        backend.model.get_output_embeddings().register_forward_hook(predicted)
        backend.loglikelihood(asked, disable_tqdm=True)
        return tokens, scored

    stock_tokens, stock_scored = work(make_backend(HFLM))
    tokens, scored = work(make_backend(ScoringModel))
    assert stock_scored == stock_tokens
    assert scored == 19  # the last position of each question, for all of its options
    before = len(make_backend(HFLM).tok_encode(FEW_SHOT))
    after = [len(make_backend(HFLM).tok_encode(context)) - before for context, _ in pairs[::4]]
    assert tokens < before + sum(after) * 1.25 + 32  # the prefix once, then little padding
    assert tokens < stock_tokens / 3


def test_in_bfloat16_accuracies_agree(make_backend: MakeBackend) -> None:
    pairs = CASES["letters"]
    keys = ["ABCD"[n * 7 % 4] for n in range(19)]

    def accuracy(backend: Any) -> float:
        scores = [s[0] for s in backend.loglikelihood(instances(pairs), disable_tqdm=True)]
        chosen = [max(range(4), key=scores[n : n + 4].__getitem__) for n in range(0, 76, 4)]
        return sum("ABCD"[c] == key for c, key in zip(chosen, keys, strict=True)) / 19

    backends = [make_backend(kind, dtype=torch.bfloat16) for kind in (ScoringModel, HFLM)]
    ours, stock = map(accuracy, backends)
    assert ours == pytest.approx(stock, abs=2.5 / 19)  # rounding may turn close questions over


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(make_backend: MakeBackend) -> None:
    asked = instances(CASES["letters"] + CASES["texts"])
    expected = make_backend(HFLM).loglikelihood(asked, disable_tqdm=True)
    backend = make_backend(ScoringModel)
    backend.model.to("cuda")
    backend._device = torch.device("cuda")  # HFLM reads it once
    found = backend.loglikelihood(asked, disable_tqdm=True)
    assert [s[0] for s in found] == pytest.approx([s[0] for s in expected], abs=1e-4)


def test_an_option_longer_than_the_model_is_refused(make_backend: MakeBackend) -> None:
    with pytest.raises(UserError, match=r"an option of .* tokens.*the model has 640 positions"):
        make_backend(ScoringModel).loglikelihood(instances([("A", LONG)]), disable_tqdm=True)


# -- other models --

SMALL = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**SMALL, "intermediate_size": 64, "max_position_embeddings": 256}
SHARING = {
    "Mistral, window of 16": transformers.MistralConfig(
        **LLAMA, num_key_value_heads=2, sliding_window=16
    ),
    "Gemma 2, capped logits": transformers.Gemma2Config(
        **LLAMA,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=16,
        attn_implementation="eager",
        final_logit_softcapping=2.0,
    ),
    "GPT-NeoX": transformers.GPTNeoXConfig(**LLAMA),
    "GPT-2, learned positions": transformers.GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=256
    ),
    "BLOOM, ALiBi": transformers.BloomConfig(**SMALL),
}


class OutputAsFunction(transformers.LlamaForCausalLM):
    """A model that multiplies by its output weights without calling the layer."""

    def forward(self, input_ids: Any, past_key_values: Any = None, use_cache: Any = None) -> Any:
        out = self.model(input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache)
        return CausalLMOutput(logits=out.last_hidden_state @ self.lm_head.weight.T)


AUTO = transformers.AutoModelForCausalLM.from_config
APART = {
    "Mamba, recurrent": (
        AUTO,
        transformers.MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2),
    ),
    "LLaMA, angles by length": (
        AUTO,
        transformers.LlamaConfig(
            **LLAMA, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
        ),
    ),
    "LLaMA, output as a function": (OutputAsFunction, transformers.LlamaConfig(**LLAMA)),
}


def random_model(config: Any, make: Callable[[Any], Any] = AUTO) -> Any:
    transformers.set_seed(1)
    model = make(config).eval()
    for parameter in model.parameters():
        parameter.data.mul_(5)  # so that contexts matter
    return model


@pytest.mark.parametrize("name", SHARING)
def test_other_architectures(name: str) -> None:
    model = random_model(SHARING[name])
    assert can_share(model)
    generator = torch.Generator().manual_seed(1)

    def ids(count: int) -> list[int]:
        return torch.randint(97, (count,), generator=generator).tolist()

    shared = ids(60)
    middle = [ids(40) for _ in range(3)]
    pairs = [
        ([*shared, *middle[n % 3], *ids(2 + n)], ids(1 + n % 2)) for n in range(9)
    ] + [(ids(10), ids(1))]  # fmt: skip
    found = PrefixScorer(model, 4).score(merge_requests(pairs, 256))
    for place, (context, continuation) in enumerate(pairs):
        whole = torch.tensor([[*context, *continuation]])
        with torch.inference_mode():
            logs = model(whole, use_cache=False).logits[0].log_softmax(-1)
        expected = sum(
            float(logs[len(context) + n - 1, token]) for n, token in enumerate(continuation)
        )
        assert found[place][0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", APART)
def test_what_cannot_be_shared_is_left_to_the_stock_backend(checkpoint: Path, name: str) -> None:
    make, config = APART[name]
    model = random_model(config, make)
    model.resize_token_embeddings(400)
    tokenizer = load_tokenizer(checkpoint / "vocabulary")
    stock, ours = (
        kind(pretrained=model, tokenizer=tokenizer, batch_size=4, backend="causal")
        for kind in (HFLM, ScoringModel)
    )
    assert not ours.shares_prefixes
    asked = instances(CASES["letters without examples"])
    expected = stock.loglikelihood(asked, disable_tqdm=True)
    assert ours.loglikelihood(asked, disable_tqdm=True) == expected


# -- whole tasks --


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    folder = tmp_path / "benchmark"
    chinese = {"question": "今天是星期一。肯尼亚的首都是？"}
    long = {"question": LONG}
    write_task(folder, "letters", LETTER_TASK, [item(n, "letters") for n in range(13)], worked=5)
    write_task(folder, "texts", TEXT_TASK, [item(n, "texts") for n in range(7)], worked=5)
    write_task(
        folder,
        "mixed",
        LETTER_TASK | {"doc_to_target": "answer", "description": "关于{{subject}}的题。\n\n"},
        [item(n, "mixed") | (chinese if n % 2 else {}) for n in range(5)]
        + [item(9, "mixed") | long],
        worked=5,
    )
    return folder


@pytest.mark.parametrize("shots", [0, 5])
def test_tasks_are_scored_as_the_harness_scores_them(
    make_backend: MakeBackend, benchmark: Path, tmp_path: Path, shots: int
) -> None:
    configs = task_configs(benchmark, tmp_path / "datasets", shots)
    manager = TaskManager(include_defaults=False)
    tasks: list[Any] = [dict(config) for config in configs.values()]
    stock = simple_evaluate(
        model=make_backend(HFLM), tasks=tasks, task_manager=manager, bootstrap_iters=0
    )
    assert stock is not None
    ours = make_backend(ScoringModel)
    for name, config in configs.items():
        rows = run_task(ours, config, shots)
        assert_agrees(rows, stock["samples"][name], config["metric_list"][0]["metric"])
    assert any(row["truncated"] for row in run_task(ours, configs["mixed"], shots))


TEMPLATES = {
    "doc_to_text": ["{{question}}", "question", "{{id|length}}", "{% if A %}{{A}}{% endif %} x"],
    "doc_to_target": ["{{answer}}", "answer", "{{id|length}}", "[{{id|length}}, 1]", "[{{A}}]", 2],
    "doc_to_choice": ["{{[A, B]}}", ["a", "b"], {"a": "x", "b": "y"}],
}


@pytest.mark.parametrize(
    ("field", "template"), [(f, t) for f, several in TEMPLATES.items() for t in several], ids=str
)
def test_compiled_templates_mean_what_the_harness_reads(
    tmp_path: Path, field: str, template: Any
) -> None:
    rows = [item(n, "x") for n in range(3)]
    write_task(tmp_path, "x", TEXT_TASK | {field: template}, rows)
    (config,) = task_configs(tmp_path, tmp_path / "datasets", 1).values()
    compiled = compile_templates(config)
    assert callable(compiled[field]) == (isinstance(template, str) and "{" in template)
    (theirs,) = TaskManager(include_defaults=False).load([dict(config)])["tasks"].values()
    (ours,) = TaskManager(include_defaults=False).load([compiled])["tasks"].values()
    for doc in ours.test_docs():
        assert getattr(ours, field)(doc) == getattr(theirs, field)(doc)
