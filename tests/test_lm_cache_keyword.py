import inspect
import warnings

import torch
from tiny_chain import shared_bundle
from torch import nn
from transformers import DynamicCache

from pictogram.lm.cache_keyword import cache_keyword


class Earlier(nn.Module):
    def forward(self, input_ids, past_key_values=None):
        return input_ids


class Later(nn.Module):
    def forward(self, input_ids, cache=None, **others):
        return input_ids


def test_by_the_name_in_forward():
    assert (cache_keyword(Earlier()), cache_keyword(Later())) == ("past_key_values", "cache")


def test_the_priors_own_name_is_found_and_takes_a_cache_without_a_warning():
    prior = shared_bundle().prior
    name = cache_keyword(prior)
    assert name in inspect.signature(prior.forward).parameters
    cache = DynamicCache(config=prior.config)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        prior(input_ids=torch.tensor([[1, 2, 3]]), use_cache=True, **{name: cache})
    assert cache.get_seq_length() == 3
