"""Your own live model, hooks and all: attributed, aligned to, evaluated, and given back as it was.

    python examples/own_model.py              a TransformerBridge (TransformerLens 3 and 4)
    python examples/own_model.py --hooked     a HookedTransformer (TransformerLens 3)

No network. The model made here stands for yours: it is in train mode, one of its layers is frozen,
and it has a hook that halves an MLP's output, so what is found is the circuit of *that* model. The
hook fires whenever its layer runs, and afterwards it is still there, as is every flag, gradient and
weight. The HookedTransformer has random weights: its numbers mean nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import transformer_lens
from torch import Tensor, nn
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer

import dfa_tl
from dfa_tl import AlignmentConfig, DFAError, align, attribute, evaluate, load_model, load_task

BUNDLED = Path(dfa_tl.__file__).parent / "models" / "bundled"
HOOKED = "blocks.1.hook_mlp_out"


def own_bridge() -> Any:
    """A TransformerBridge, here of a bundled folder."""
    return TransformerBridge.boot_transformers(str(BUNDLED / "toy-large"))


def own_hooked_transformer() -> Any:
    """A HookedTransformer, here of three random layers."""
    lens: Any = transformer_lens
    if not hasattr(lens, "HookedTransformer"):
        raise SystemExit("error: TransformerLens 4 has no HookedTransformer; leave --hooked out")
    tokenizer = AutoTokenizer.from_pretrained(str(BUNDLED / "toy-small"))
    config = lens.HookedTransformerConfig(
        n_layers=3, d_model=64, n_ctx=64, d_head=16, n_heads=4, act_fn="gelu",
        d_vocab=len(tokenizer), device="cpu", seed=0,
    )  # fmt: skip
    return lens.HookedTransformer(config, tokenizer=tokenizer)


class Halved:
    """A hook that halves an activation, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, activation: Tensor, hook: Any) -> Tensor:
        """Halve it."""
        self.times += 1
        return activation / 2


def state(model: Any) -> list[Any]:
    """Everything of a model that a careless caller could change."""
    wrapped = getattr(model, "original_model", model)
    modules: list[nn.Module] = [*model.modules(), *wrapped.modules()]
    parameters = [p for m in modules for p in m.parameters(recurse=False)]
    return [
        [m.training for m in modules],
        [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules],
        [p.requires_grad for p in parameters],
        [None if p.grad is None else float(p.grad.sum()) for p in parameters],
        [float(p.detach().double().sum()) for p in parameters],
        [(name, len(point.fwd_hooks)) for name, point in model.hook_dict.items()],
        repr(model.cfg),
        torch.is_grad_enabled(),
        torch.get_rng_state().sum().item(),
    ]


def main() -> None:
    """Use the model, and see that it is as it was."""
    parser = argparse.ArgumentParser(description="Your own TransformerLens model in dfa_tl.")
    parser.add_argument("--hooked", action="store_true", help="a HookedTransformer")
    parser.add_argument("--pairs", type=int, default=32)
    arguments = parser.parse_args()

    mine = own_hooked_transformer() if arguments.hooked else own_bridge()
    mine.train()
    next(iter(mine.parameters())).requires_grad_(False)
    halved = Halved()
    mine.add_hook(HOOKED, halved)
    mine(torch.ones(1, 2, dtype=torch.long))  # a first run sets up what the libraries set up
    before = state(mine)

    model = load_model(mine)  # nothing is copied
    train, test = (load_task("ioi", split=split, n=arguments.pairs) for split in ("train", "test"))
    gold = attribute(model, train)
    source = attribute(load_model("toy-small"), train)
    alignment = align({"ioi": source}, model, {"ioi": train}, AlignmentConfig(epochs=1))
    for name, scores in (("gold", gold), ("aligned", alignment.transfer(source))):
        curve = evaluate(model, test, scores)
        print(f"{name:8} CPR {curve.cpr:.2f}, CMD {curve.cmd:.2f}")

    assert state(mine) == before, "the model was changed"
    fired = halved.times
    mine(torch.ones(1, 2, dtype=torch.long))
    assert halved.times == fired + 1, "the hook no longer fires"
    print(f"{type(mine).__name__}: as it was; its own hook fired {halved.times} times")


if __name__ == "__main__":
    try:
        main()
    except DFAError as error:
        raise SystemExit(f"error: {error}") from error
