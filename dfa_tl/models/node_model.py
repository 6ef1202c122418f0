"""`NodeModel`: a TransformerLens model seen as nodes.

One face for `HookedTransformer` (TransformerLens 3) and `TransformerBridge` (3 and 4): the nodes
and their hook points, tokens, and the logits at the last real position of each row. Only that
position is unembedded, which saves most of the memory of a large vocabulary. A run may start at
any layer from the residual stream that enters it; the layers below are then skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dfa_tl.arguments import checked_arguments, got
from dfa_tl.errors import DataError, ModelError
from dfa_tl.models.isolation import one_at_a_time, unchanged
from dfa_tl.models.probe import mask_option, probe, residual_site
from dfa_tl.models.state import remove_hook
from dfa_tl.models.supported import hook_points_of, nodes_of
from dfa_tl.models.tokenizer import bos_to_prepend, has_bos, without_second_bos
from dfa_tl.nodes import EMBED_SITE, node_sites
from dfa_tl.settings import check_switch


@dataclass(frozen=True, eq=False)
class Resume:
    """Where a run starts when it does not start at the embedding.

    Attributes:
        layer: The first layer that runs.
        residual: The residual stream entering it, `batch pos d_model`.
    """

    layer: int
    residual: Float[Tensor, "batch pos d_model"]


class NodeModel:
    """Attention heads and MLPs of one TransformerLens model.

    Attributes:
        tl: The `HookedTransformer` or `TransformerBridge`; never changed.
        name: The model's name, for tables and messages.
        nodes: Its nodes.
        prepend_bos: Whether prompts begin with a BOS; None for the default of the model, and of
            tasks that have their own. See `prompt_tokens`.

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
        self.nodes = nodes_of(tl)
        self.tl: Any = tl
        known = str(getattr(self.tl.cfg, "model_name", "model"))
        # The name goes wherever results go: a folder's own name, not where it lies on this disk.
        self.name = name or (Path(known).name if Path(known).is_absolute() else known)
        layers = range(self.nodes.n_layers)
        wanted = [EMBED_SITE, *node_sites(self.nodes), *map(residual_site, layers)]
        self._hook_points = hook_points_of(tl, self.name, wanted)
        probe(tl, self.name, self.nodes, self._hook_points)
        self._block_output: str | None = None
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
    def architecture(self) -> dict[str, int | bool]:
        """What the benchmark's files say of a model beside its nodes; see `NodeScores.to_mib`."""
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
            prepend_bos: What the data set asks for; what the model was loaded with goes before.

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
        with ExitStack() as stack:
            if resume is None or resume.layer == 0:
                stack.enter_context(self._block_output_seen())
            else:
                stack.enter_context(self._resumed(resume))
            stack.enter_context(self._unembedding_only(last))
            logits = self.tl(tokens, return_type="logits", **mask_option(self.tl, mask))
        return logits[:, 0]

    @contextmanager
    def _unembedding_only(self, last: Tensor) -> Iterator[None]:
        def keep_last(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            residual, *rest = args
            rows = torch.arange(len(last), device=residual.device)
            return (residual[rows, last.to(residual.device)].unsqueeze(1), *rest)

        handle = self.tl.unembed.register_forward_pre_hook(keep_last)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _resumed(self, resume: Resume) -> Iterator[None]:
        """Put the residual in where `resume.layer` starts, and skip the blocks below.

        The residual is one seen after all other hooks, so it goes in after them too: a hook of the
        user's that steers it is not applied a second time. Skipped blocks return it at once; blocks
        that return more than the residual cannot be skipped, and run.
        """
        if self._block_output is None:
            raise ModelError(f"run {self.name} from the embedding once before resuming a run")
        with ExitStack() as stack:
            stack.enter_context(self._residual_put_in(resume))
            if self._block_output != "other":
                output = (resume.residual,) if self._block_output == "tuple" else resume.residual
                for layer in range(resume.layer):
                    block = self.tl.blocks[layer]
                    stack.enter_context(_forward_replaced(block, lambda *_, **__: output))
            yield

    @contextmanager
    def _residual_put_in(self, resume: Resume) -> Iterator[None]:
        point = self.hook_point(residual_site(resume.layer))
        point.add_hook(lambda activation, hook: resume.residual)
        handle = point.fwd_hooks[-1]
        try:
            yield
        finally:
            remove_hook(point, handle)

    @contextmanager
    def _block_output_seen(self) -> Iterator[None]:
        """Note, in the first whole run, what the model's loop over blocks expects of a block."""
        if self._block_output is not None:
            yield
            return

        def see(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self._block_output = "tensor"
            elif isinstance(output, tuple) and len(output) == 1:
                self._block_output = "tuple"
            else:
                self._block_output = "other"

        handle = self.tl.blocks[0].register_forward_hook(see)
        try:
            yield
        finally:
            handle.remove()

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


@contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    # Through __dict__: a forward that somebody set on the instance is put back as it was.
    own = module.__dict__
    before = own.get("forward")
    own["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            own.pop("forward", None)
        else:
            own["forward"] = before
