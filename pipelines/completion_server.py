"""Codes from a server that completes token ids over the OpenAI API, such as vLLM with the stock prior of a bundle.

Beside what the OpenAI API has, this takes `allowed_token_ids` for the codes of one level, and ids instead of text in
the answer: `return_token_ids`, or else `logprobs` with `return_tokens_as_token_ids`. vLLM knows all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..hub.errors import InputError
from .http_json import JsonServer, ServerError

_TOKEN_ID = "token_id:"


@dataclass(frozen=True)
class CompletionServer(JsonServer):
    """See `JsonServer`; asked with ids, it answers with ids.

    Attributes:
        model: the name of the prior there; by default the only one that the server has.
        num_connections: most requests at a time.
    """

    model: str = ""
    num_connections: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_connections < 1:
            raise InputError(f"num_connections must be at least 1, got {self.num_connections}")

    def complete(
        self,
        prompt: Sequence[int],
        allowed_ids: Collection[int],
        count: int,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
    ) -> list[int]:
        """Draws `count` ids that follow the prompt.

        Args:
            prompt: ids.
            allowed_ids: what may be drawn.
            count: of ids, exactly.
            temperature: 0 takes the most likely id.
            top_k: draws from the k most likely ids; 0 from all.
            top_p: draws from the most likely ids that hold this share of the chances. vLLM takes the share of what
                top-k has left.
            seed: 0..2**63 - 1.

        Raises:
            ServerError: see `JsonServer`; or the answer has another number of ids, or others than the allowed ones.
        """
        answer = self.post(
            "/completions",
            {
                "model": self._served.name,
                "prompt": list(prompt),
                "max_tokens": count,
                "allowed_token_ids": list(allowed_ids),
                "temperature": temperature,
                "top_k": top_k or -1,  # older releases of vLLM refuse 0
                "top_p": top_p,
                "seed": seed,
                # A model's own generation_config.json would set these otherwise.
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "return_token_ids": True,
                "logprobs": 0,
                "return_tokens_as_token_ids": True,
            },
        )
        return self._checked(_read_ids(answer), allowed_ids, count)

    def check_context(self, num_tokens: int, context: int) -> None:
        """Compares the server's model with what is known of ours, as far as the server tells.

        Args:
            num_tokens: longest document that will be asked for.
            context: longest document of our prior.

        Raises:
            ServerError: the model there has room for less than is needed, or for more than our prior has; or see
                `JsonServer`.
        """
        served = self._served
        if served.context is not None and not num_tokens <= served.context <= context:
            raise ServerError(
                f"the model {served.name!r} at {self.url} has room for {served.context} tokens, expected {num_tokens} "
                f"to {context}: the server must run the prior of this bundle"
            )

    @cached_property
    def _served(self) -> _ServedModel:
        answer = self.get("/models")
        listed = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise ServerError(f"the server at {self.url} did not answer /models with a list of models")
        by_name = {str(entry.get("id")): entry for entry in listed}
        if self.model not in by_name and (self.model or len(by_name) != 1):
            names = ", ".join(by_name) or "none"
            wanted = f"no model {self.model!r}" if self.model else "no single model; name one"
            raise ServerError(f"the server at {self.url} has {wanted}. Its models: {names}")
        name = self.model or next(iter(by_name))
        context = by_name[name].get("max_model_len")
        return _ServedModel(name, context if isinstance(context, int) else None)

    def _checked(self, ids: list[int] | None, allowed_ids: Collection[int], count: int) -> list[int]:
        where = f"the server at {self.url}"
        if ids is None:
            raise ServerError(
                f"{where} returned no token ids; it must know return_token_ids, or logprobs with "
                "return_tokens_as_token_ids, as vLLM does"
            )
        if len(ids) != count:
            raise ServerError(f"{where} returned {len(ids)} tokens where {count} were asked for")
        wrong = set(ids) - set(allowed_ids)
        if wrong:
            raise ServerError(
                f"{where} returned the id {min(wrong)}, which was not among those allowed: it must know "
                "allowed_token_ids and run the prior of this bundle"
            )
        return ids


@dataclass(frozen=True)
class _ServedModel:
    """A model's name, and how many tokens it has room for, if the server says so."""

    name: str
    context: int | None


def _read_ids(answer: Any) -> list[int] | None:
    """The ids of the one completion, or None if there are none to be read."""
    try:
        (choice,) = answer["choices"]
        ids = choice.get("token_ids")
        if ids is None:
            tokens = choice["logprobs"]["tokens"]
            ids = [int(token.removeprefix(_TOKEN_ID)) for token in tokens if token.startswith(_TOKEN_ID)]
            ids = ids if len(ids) == len(tokens) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return ids if isinstance(ids, list) and all(type(id_) is int for id_ in ids) else None
