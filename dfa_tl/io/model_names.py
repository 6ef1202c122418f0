"""Short names of models on the Hugging Face hub: the paper's, and the benchmark's.

Llama-3 stands for the base models of one tokenizer: 1B and 3B are of release 3.2, 8B of 3.1. The
benchmark has five models and names each after its family.
"""

from __future__ import annotations

BENCHMARK_NAMES = {
    "gpt2": "openai-community/gpt2",
    "qwen2.5": "Qwen/Qwen2.5-0.5B",
    "gemma2": "google/gemma-2-2b",
    "llama3": "meta-llama/Llama-3.1-8B",
}
"""The benchmark's names of the models in its circuit track."""

NOT_LOADED = {
    "interpbench": (
        "the benchmark's InterpBench model is a pickled configuration and checkpoint "
        "(mib-bench/interpbench on the hub), and nothing is unpickled here. Build the "
        "HookedTransformer yourself, as the benchmark's run_attribution.py does, and give it to "
        "load_model. The benchmark evaluates it on its known edges, which dfa_tl does not"
    )
}
"""Names of the benchmark's models that are not loaded, and why."""

SHORT_NAMES = {
    "llama3-1b": "meta-llama/Llama-3.2-1B",
    "llama3-3b": "meta-llama/Llama-3.2-3B",
    "llama3-8b": "meta-llama/Llama-3.1-8B",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B",
    "qwen2.5-3b": "Qwen/Qwen2.5-3B",
    "gemma2-2b": "google/gemma-2-2b",
    "gemma2-9b": "google/gemma-2-9b",
    "gemma2-27b": "google/gemma-2-27b",
    "gpt2-small": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "pythia-70m": "EleutherAI/pythia-70m",
    "pythia-160m": "EleutherAI/pythia-160m",
    "pythia-410m": "EleutherAI/pythia-410m",
    "pythia-1b": "EleutherAI/pythia-1b",
    "pythia-1.4b": "EleutherAI/pythia-1.4b",
    "pythia-2.8b": "EleutherAI/pythia-2.8b",
    "pythia-6.9b": "EleutherAI/pythia-6.9b",
    "pythia-12b": "EleutherAI/pythia-12b",
    **BENCHMARK_NAMES,
}
