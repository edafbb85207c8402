"""A warm worker: a process that has imported the heavy libraries and forks once a cell.

Importing torch, transformers, peft and trl costs some seconds a process, more than many a small
cell. The worker has imported them, has started no threads, and forks for each request; the child is
what a fresh process would be. Where no worker answers, the caller computes in its own process.

Protocol, over a Unix socket: one JSON line {"stage", "argv", "cwd", "environment"} with the
caller's stdout and stderr as ancillary file descriptors; the answer is the exit code as text. When
the caller dies the child is killed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

SOCKET_VARIABLE = "LANGTRANSFER_WORKER"
# Threads start on first use and do not survive a fork: none may start while importing. OpenBLAS
# and pyarrow's allocator start one at once, and asking the CUDA driver for GPUs would leave the
# children with a driver they cannot use.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
}
# Stages that work on their parents alone; those that may ask the Hugging Face hub for something
# (fetch_corpus, fetch_benchmark, prepare_instructions, adopt_model) are not served: it is offline.
STAGES = frozenset(
    {
        "train_base",
        "extend_embeddings",
        "pretrain",
        "finetune",
        "generate",
        "knowledge",
        "perplexity",
        "alignment",
        "train_tokenizer",
        "extend_vocabulary",
        "check_vocabulary",
        "pack_tokens",
        "code_switching",
        "score",
        "clean_corpus",
        "split_corpus",
        "tables",
        "figures",
        "claims",
        "report",
    }
)
PRELOADED = (
    "torch",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "transformers.trainer",
    "peft",
    "trl",
    "trl.trainer.sft_trainer",
    "deepspeed",  # the Trainer imports it where it is installed, whether used or not
    "lm_eval",
    "lm_eval.models.huggingface",
    "sentencepiece",
    "tokenizers",
    "gigatoken",
    "awkward",  # gigatoken imports it when it first encodes
    "scipy.stats",
    "pandas",
    "sacrebleu",
    "py3langid.langid",
    "langtransfer.execution",
    "langtransfer.pretraining.training",
    "langtransfer.finetuning.training",
    "langtransfer.evaluation.alignment",
    "langtransfer.evaluation.code_switching",
    "langtransfer.evaluation.generation",
    "langtransfer.evaluation.knowledge",
    "langtransfer.evaluation.perplexity",
    "langtransfer.evaluation.reference_judge",
    "langtransfer.vocabulary.extension",
    "langtransfer.vocabulary.training",
)
PASSED = (
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "TMPDIR",
)


def delegate(stage: str, argv: Sequence[str]) -> int | None:
    """Exit code from the warm worker, or None where there is none to ask."""
    address = os.environ.get(SOCKET_VARIABLE)
    if stage not in STAGES or not address or not Path(address).exists():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        request = {
            "stage": stage,
            "argv": list(argv),
            "cwd": os.getcwd(),
            "environment": environment,
        }
        message = (json.dumps(request) + "\n").encode()
        try:
            connection.connect(address)
            socket.send_fds(connection, [message], [sys.stdout.fileno(), sys.stderr.fileno()])
            answer = connection.makefile().readline().strip()
        except OSError:  # no worker, or it died: nothing half-written counts, compute here
            return None
    return int(answer) if answer else None


class Worker:
    """Serves requests until its parent process is gone."""

    def __init__(self, address: Path, parent: int) -> None:
        self._address = address
        self._parent = parent
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, tuple[int, socket.socket]] = {}  # pid -> (pidfd, connection)

    def run(self) -> None:
        """Bind and serve; returns when the parent process has gone."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            self._address.unlink(missing_ok=True)
            listener.bind(str(self._address))
            listener.listen(64)
            self._selector.register(listener, selectors.EVENT_READ, ("accept", 0))
            try:
                while os.getppid() == self._parent:
                    for event, _ in self._selector.select(timeout=1.0):
                        self._handle(listener, *event.data)
            finally:
                self._address.unlink(missing_ok=True)

    def _handle(self, listener: socket.socket, what: str, pid: int) -> None:
        if what == "accept":
            connection, _ = listener.accept()
            self._start(connection)
        elif what == "ended":
            self._answer(pid)
        elif pid in self._children:  # the caller hung up: nobody waits for this child
            os.kill(pid, signal.SIGKILL)
            self._selector.unregister(self._children[pid][1])

    def _start(self, connection: socket.socket) -> None:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        worker = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_child(json.loads(message), descriptors, worker)
        for descriptor in descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        self._children[pid] = (pidfd, connection)
        self._selector.register(pidfd, selectors.EVENT_READ, ("ended", pid))
        self._selector.register(connection, selectors.EVENT_READ, ("hangup", pid))

    def _answer(self, pid: int) -> None:
        pidfd, connection = self._children.pop(pid)
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        if connection in {key.fileobj for key in self._selector.get_map().values()}:
            self._selector.unregister(connection)
            code = os.waitstatus_to_exitcode(status)
            # A signal's number reaches the caller the way a shell would say it.
            connection.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
        connection.close()


def _be_child(request: dict[str, object], descriptors: list[int], worker: int) -> None:
    """Become the stage: same arguments, folder, environment and output as the caller. No return."""
    code = 1
    try:
        _die_with(worker)
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[1], 2)
        os.chdir(str(request["cwd"]))
        for name in PASSED:
            os.environ.pop(name, None)
        os.environ.update(request["environment"])  # type: ignore[call-overload]  # str -> str
        code = _run_stage(str(request["stage"]), list(request["argv"]))  # type: ignore[call-overload]
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        try:  # a full disk fails the flush; the child must not go on as a second worker
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _run_stage(stage: str, argv: list[str]) -> int:
    from langtransfer import command

    arguments = command.parse_arguments(stage, argv)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(arguments.threads)
    module = importlib.import_module(f"scripts.{stage}")
    return command.serve(stage, module.run, arguments)


def _die_with(worker: int) -> None:
    """Ask the kernel to kill this process when the worker dies (Linux: PR_SET_PDEATHSIG = 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != worker:
        os._exit(1)


def preload() -> None:
    """Import and load what every child would otherwise by itself; starts no thread."""
    for module in PRELOADED:
        importlib.import_module(module)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from langtransfer.evaluation.code_switching import load_identifier

    # It compiles a thousand regular expressions the first time in a process.
    get_checkpoint_conversion_mapping("llama")  # type: ignore[no-untyped-call]  # untyped there
    load_identifier()


def main() -> None:
    """`python -m langtransfer.warm SOCKET PARENT`: import, then serve while that process lives."""
    preload()
    gc.collect()
    gc.freeze()  # keep the imported objects' pages shared between children
    Worker(Path(sys.argv[1]), int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
