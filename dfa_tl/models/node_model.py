"""`NodeModel`: a TransformerLens model seen as nodes.

One interface for `HookedTransformer` (TransformerLens 3) and `TransformerBridge` (3 and 4): the
nodes and their hook points, tokens, and the logits at the last real position of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dfa_tl.arguments import checked_arguments, got
from dfa_tl.errors import DataError, ModelError
from dfa_tl.models.isolation import one_at_a_time, unchanged
from dfa_tl.models.partial_run import PartialRun, Resume, residual_site
from dfa_tl.models.probe import probe
from dfa_tl.models.tokenizer import bos_to_prepend, has_bos, without_second_bos
from dfa_tl.nodes import EMBED_SITE, NodeSet, node_sites
from dfa_tl.settings import check_switch


class NodeModel:
    """Attention heads and MLPs of one TransformerLens model.

    Attributes:
        tl: The `HookedTransformer` or `TransformerBridge`; never changed.
        name: The model's name, for tables and messages.
        nodes: Its nodes.
        prepend_bos: Whether prompts begin with a BOS; None for the default of the model, and of
            tasks that have their own. See `prompt_tokens`.
        partial_run: How it is run; `last_logits` is what most callers need.

    Raises:
        ConfigError: `prepend_bos` is not True, False or None.
        ModelError: the model lacks a hook point that nodes need (no MLPs, an encoder, an
            unsupported architecture), or its weights are on the meta device; or `prepend_bos=True`
            for a tokenizer that has nothing to prepend.
    """

    @checked_arguments(skip=("tl",))
    def __init__(
        self, tl: nn.Module, name: str | None = None, *, prepend_bos: bool | None = None
    ) -> None:
        check_switch("prepend_bos", prepend_bos)
        self.nodes = _nodes_of(tl)
        self.tl: Any = tl
        known = str(getattr(self.tl.cfg, "model_name", "model"))
        # The name goes wherever results go: a folder's own name, not where it lies on this disk.
        self.name = name or (Path(known).name if Path(known).is_absolute() else known)
        layers = range(self.nodes.n_layers)
        wanted = [EMBED_SITE, *node_sites(self.nodes), *map(residual_site, layers)]
        self._hook_points = _hook_points_of(tl, self.name, wanted)
        probe(tl, self.name, self.nodes, self._hook_points)
        self.partial_run = PartialRun(tl, self.name)
        self.prepend_bos = prepend_bos
        if prepend_bos:
            self._bos_to_prepend()

    @property
    def device(self) -> torch.device:
        """Where the tokens go: the device of the embedding."""
        return next(iter(self.tl.embed.parameters())).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's weights."""
        return next(iter(self.tl.parameters())).dtype

    @property
    def dtype_name(self) -> str:
        """The dtype by name, such as `bfloat16`: for provenances."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def architecture(self) -> dict[str, int | bool]:
        """What the benchmark's files state about a model besides its nodes: `NodeScores.to_mib`."""
        parallel = getattr(self.tl.cfg, "parallel_attn_mlp", False)
        return {"d_model": int(self.tl.cfg.d_model), "parallel_attn_mlp": bool(parallel)}

    @property
    def unknown_token(self) -> int | None:
        """The tokenizer's token for unknown words, if it has one of its own."""
        tokenizer = self.tl.tokenizer
        unknown = getattr(tokenizer, "unk_token_id", None)
        special = {getattr(tokenizer, f"{kind}_token_id", None) for kind in ("bos", "eos", "pad")}
        return None if unknown in special else unknown

    @property
    def vocabulary_size(self) -> int:
        """How many tokens the model knows: the rows of its embedding."""
        rows = getattr(getattr(self.tl.embed, "W_E", None), "shape", [self.tl.cfg.d_vocab])[0]
        return min(int(rows), int(self.tl.cfg.d_vocab))

    @property
    def context_length(self) -> int:
        """How many tokens the model takes."""
        return int(self.tl.cfg.n_ctx)

    @checked_arguments
    def token_texts(self, tokens: Int[Tensor, " pos"]) -> list[str]:
        """Each token as text; as its number where the model has no tokenizer."""
        if tokens.dim() != 1 or tokens.is_floating_point():
            raise DataError(f"tokens: expected a vector of token ids, got {got(tokens)}")
        if self.tl.tokenizer is None:
            return [str(int(token)) for token in tokens]
        return [self.tl.tokenizer.decode([int(token)]) for token in tokens]

    @checked_arguments
    def hook_point(self, site: str) -> Any:
        """The TransformerLens hook point called `site`.

        Raises:
            ModelError: the model has none of that name.
        """
        if site not in self._hook_points:
            hooks = self.tl.hook_dict
            if site not in hooks:
                raise ModelError(f"{self.name} has no hook point {site}")
            self._hook_points[site] = hooks[site]
        return self._hook_points[site]

    def unchanged(self) -> AbstractContextManager[None]:
        """Eval mode, frozen parameters, one thread at a time; see `dfa_tl.models.isolation`."""
        return unchanged(self.tl)

    @checked_arguments
    def prompt_tokens(self, prompt: str, prepend_bos: bool | None = None) -> Int[Tensor, " pos"]:
        """Tokens of one prompt on the CPU, by the model's `to_tokens`.

        Whether a BOS is prepended, by `NodeModel.prepend_bos`, or by `prepend_bos` if that is None:

            None    as the model's `cfg.default_prepend_bos` says, if its tokenizer came with a BOS:
                    Llama-3, Gemma-2 and GPT-2 get one, Pythia and Qwen-2.5 none
            True    always; where the tokenizer came without a BOS, the token that TransformerLens
                    puts there, its EOS. So do the benchmark and EAP-IG
            False   never

        A prompt that begins with the BOS already, such as a rendered chat template, gets no second
        one.

        Args:
            prompt: The text.
            prepend_bos: What the data set asks for; the model's own setting takes precedence.

        Raises:
            DataError: more tokens than the model takes.
            ModelError: the model has no tokenizer, or it has no BOS to prepend.
        """
        tokenizer = self._tokenizer()
        prepend = prepend_bos if self.prepend_bos is None else self.prepend_bos
        if prepend:
            self._bos_to_prepend()
        elif prepend is None:
            with one_at_a_time(self.tl):  # a HookedTransformer changes it while it tokenises
                prepend = bool(self.tl.cfg.default_prepend_bos) and has_bos(tokenizer)
        tokens = self._tokens(prompt, prepend)
        if prepend:
            tokens = without_second_bos(tokens, tokenizer.bos_token_id)
        if len(tokens) > self.context_length:
            raise DataError(
                f"{len(tokens)} tokens; {self.name} takes {self.context_length} at most"
            )
        return tokens

    @checked_arguments
    def answer_tokens(self, answer: str) -> Int[Tensor, " pos"]:
        """Tokens of an answer on the CPU, nothing prepended."""
        return self._tokens(answer, False)

    def _tokens(self, text: str, prepend_bos: bool) -> Tensor:
        self._tokenizer()
        with one_at_a_time(self.tl):
            # A HookedTransformer changes its default while it tokenises.
            default = self.tl.cfg.default_prepend_bos
            try:
                return self.tl.to_tokens(text, truncate=False, prepend_bos=prepend_bos)[0].cpu()
            finally:
                self.tl.cfg.default_prepend_bos = default

    def _tokenizer(self) -> Any:
        if self.tl.tokenizer is None:
            raise ModelError(
                f"{self.name} has no tokenizer; give it one, or use PairDataset.from_tokens"
            )
        return self.tl.tokenizer

    def _bos_to_prepend(self) -> int:
        return bos_to_prepend(self._tokenizer(), self.vocabulary_size)

    @checked_arguments
    def last_logits(
        self,
        tokens: Int[Tensor, "batch pos"],
        mask: Bool[Tensor, "batch pos"],
        last: Int[Tensor, " batch"],
        resume: Resume | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Logits at the last real position of each row.

        Args:
            tokens: Token ids, padded on the right.
            mask: True at real positions.
            last: Index of the last real position.
            resume: Start from this residual stream instead of the embedding.
        """
        return self.partial_run.last_logits(tokens, mask, last, resume)

    def probe_error(self) -> float:
        """Run the probe of `dfa_tl.models.probe` with the hooks that are on the model.

        Returns:
            The largest relative error of a residual stream.

        Raises:
            ModelError: with these hooks, the hook points are not the nodes.
        """
        return probe(self.tl, self.name, self.nodes, self._hook_points, user_hooks=True)

    def __repr__(self) -> str:
        bos = "" if self.prepend_bos is None else f", prepend_bos={self.prepend_bos}"
        return f"NodeModel({self.name!r}, {self.nodes}, {self.dtype}, {self.device}{bos})"


def _nodes_of(tl: nn.Module) -> NodeSet:
    """The nodes of a model. Raises `ModelError` unless it is a TransformerLens model."""
    cfg: Any = getattr(tl, "cfg", None)
    n_layers, n_heads = getattr(cfg, "n_layers", None), getattr(cfg, "n_heads", None)
    if (
        not isinstance(n_layers, int)
        or not isinstance(n_heads, int)
        or not hasattr(tl, "hook_dict")
    ):
        raise ModelError(
            f"expected a HookedTransformer or TransformerBridge, got {type(tl).__name__}; "
            "load_model makes one from a name or a folder"
        )
    return NodeSet(n_layers, n_heads)


def _hook_points_of(tl: nn.Module, name: str, sites: Sequence[str]) -> dict[str, Any]:
    """The model's hook points at `sites`.

    Raises:
        ModelError: a hook point is missing, or the model's weights are not in memory.
    """
    hooks: Any = tl.hook_dict
    missing = [site for site in sites if site not in hooks]
    if missing:
        raise ModelError(
            f"{name} has no hook point {missing[0]} ({len(missing)} of {len(sites)} are missing): "
            "its nodes cannot be patched, because it is not a decoder with attention heads and an "
            "MLP in every layer"
        )
    if any(parameter.is_meta for parameter in tl.parameters()):
        raise ModelError(
            f"weights of {name} are on the meta device or on the disk: load them into memory"
        )
    return {site: hooks[site] for site in sites}
