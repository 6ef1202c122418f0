"""`align`: train W, so that source scores carried over to the target keep it faithful.

`dfa_tl.alignment.train` has the formulas and the loop. Here, arguments are checked, source scores
are normalised, and W gets its first values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from dfa_tl.alignment.alignment import Alignment
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.alignment.depth import carried_profile
from dfa_tl.alignment.history import AlignmentHistory
from dfa_tl.alignment.linear_map import LinearMap, initial_map, normalize
from dfa_tl.alignment.train import SourceVector, by_task, train
from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, ScoresError
from dfa_tl.models.node_model import NodeModel
from dfa_tl.nodes import NodeSet
from dfa_tl.scores import NodeScores, check_nodes, check_scored
from dfa_tl.settings import check_whole
from dfa_tl.tasks.pairs import PairDataset


@checked_arguments
def align(
    scores: NodeScores | Sequence[NodeScores] | Mapping[str, NodeScores | Sequence[NodeScores]],
    target: NodeModel,
    data: PairDataset | Mapping[str, PairDataset],
    config: AlignmentConfig | None = None,
    *,
    start: Alignment | None = None,
    check: Callable[[int, Alignment], object] | None = None,
    check_every: int = 10,
    cache: str = "auto",
    progress: bool = True,
) -> Alignment:
    """Train W so that source scores, mapped to the target, keep the target faithful.

    Args:
        scores: Source scores of each training task, all of one source model. A task may have
            several vectors, for instance from bootstrapped source pairs: each step draws one of
            them. For a single task, the scores alone are enough.
        target: The target model; it is not changed.
        data: Pairs of each training task. A single data set is one task, under its own name.
        config: Settings; the default is `AlignmentConfig()`.
        start: W and b before training, such as those of `controls.regression`; the settings'
            initialisation does not apply.
        check: Called with the number of steps done and W as it is then, before the first step,
            after every `check_every` steps, and after the last. Training stops early where it
            returns True. `HeldOut` measures W's circuits on held-out pairs.
        check_every: Steps between two checks.
        cache: Where clean activations are kept between epochs: `device`, `host`, `none` (run the
            clean prompts again), or `auto`, the first of them with enough memory. It changes
            memory and speed, not the result.
        progress: Show a progress bar.

    Raises:
        ConfigError: no tasks, a task without scores, scores and data of different tasks, a
            rank above the number of nodes, or a start that the settings cannot train.
        ScoresError: scores of different source models, or a start for other models.
        DataError: pairs that cannot be used with the target's tokenizer.
        NumericsError: the loss is not finite.

    Warns:
        AlignmentWarning: training takes fewer than 50 steps.

    Example:
        >>> source, target = load_model("toy-small"), load_model("toy-large")
        >>> data = load_task("ioi", n=16)
        >>> align({"ioi": attribute(source, data)}, target, {"ioi": data})
        Alignment(15 source x 42 target nodes, 100 steps)
    """
    settings = config or AlignmentConfig()
    data = by_task(data)
    vectors = _checked_vectors(scores, data)
    first = next(iter(vectors.values()))[0]
    check_whole("check_every", check_every, 1)
    provenance = {
        "source": first.provenance.get("model", "source"),
        "target": target.name,
        "prepend_bos": target.prepend_bos,
        "dtype": target.dtype_name,
        "architecture": target.architecture,
        "tasks": list(vectors),
        "pairs": {task: len(pairs) for task, pairs in data.items()},
        "vectors": {task: len(several) for task, several in vectors.items()},
    }
    with target.unchanged():  # it leaves the caller's inference mode, so W can be trained
        inputs = {
            task: [_source_vector(each, target, settings) for each in several]
            for task, several in vectors.items()
        }
        generator = torch.Generator().manual_seed(settings.seed)
        if start is None:
            parameters = initial_map(first.nodes, target.nodes, settings, generator, target.device)
        else:
            parameters = _continued(start, first.nodes, target, settings)

        def alignment(history: AlignmentHistory | None = None) -> Alignment:
            tensors = [parameters.W] if parameters.bias is None else [parameters.W, parameters.bias]
            W, *bias = (tensor.detach().clone() for tensor in tensors)
            return Alignment(W, first.nodes, target.nodes, settings, history, provenance, *bias)

        def check_now(step: int, is_last: bool) -> bool:
            if check is None or not (is_last or step % check_every == 0):
                return False
            return check(step, alignment()) is True

        history = train(
            parameters,
            inputs,
            target,
            data,
            settings,
            generator,
            check=check_now,
            cache=cache,
            progress=progress,
        )
        return alignment(history)


def _continued(
    start: Alignment, source: NodeSet, target: NodeModel, settings: AlignmentConfig
) -> LinearMap:
    """The map of an alignment, to be trained further."""
    if (start.source, start.target) != (source, target.nodes):
        raise ScoresError(
            f"start is a W from {start.source} to {start.target}, and the models have {source} and "
            f"{target.nodes}"
        )
    if settings.rank is not None or settings.learned != "full":
        raise ConfigError("start is trained entry by entry: set rank=None and learned='full'")
    if start.config.normalization != settings.normalization:
        raise ConfigError(
            f"start takes source scores with normalization={start.config.normalization!r}, and the "
            f"settings have {settings.normalization!r}: give both the same"
        )
    W, *bias = (
        tensor.detach().to(target.device, torch.float32, copy=True)
        for tensor in (start.W, start.bias)
        if tensor is not None
    )
    return LinearMap.full(W, *bias, bias_is_fixed=not settings.target_bias)


def _source_vector(
    scores: NodeScores, target: NodeModel, settings: AlignmentConfig
) -> SourceVector:
    values = normalize(scores.values, settings.normalization).to(target.device)
    profile = carried_profile(scores, target.nodes) if settings.profile_penalty else None
    return SourceVector(values, None if profile is None else profile.to(target.device))


def _checked_vectors(
    scores: NodeScores | Sequence[NodeScores] | Mapping[str, NodeScores | Sequence[NodeScores]],
    data: Mapping[str, PairDataset],
) -> dict[str, list[NodeScores]]:
    """The vectors of each task, all of one source model; at least one task, each with a vector."""
    if not isinstance(scores, Mapping):
        if len(data) != 1:
            raise ConfigError(
                f"the scores are for one task, but the data are for {len(data)} "
                f"({', '.join(data)}): give scores by task, {{task: scores}}"
            )
        scores = dict.fromkeys(data, scores)
    if not scores:
        raise ConfigError("no tasks to train on: give source scores and pairs of at least one")
    if set(scores) != set(data):
        raise ConfigError(
            f"there are scores for the tasks {sorted(scores)} and pairs for {sorted(data)}: "
            "give both for every task"
        )
    vectors: dict[str, list[NodeScores]] = {}
    for task, given in scores.items():
        vectors[task] = [given] if isinstance(given, NodeScores) else list(given)
        if not vectors[task]:
            raise ConfigError(f"task {task!r} has no score vector: give one NodeScores or several")
        for vector in vectors[task]:
            first = next(iter(vectors.values()))[0]
            check_nodes(vector, first.nodes, "the first task's source model")
            check_scored(vector)
    return vectors
