import pytest
import tiny_chain

from pictogram.hub.errors import InputError
from pictogram.pipelines.bundle_pipeline import BundlePipeline, check_positive
from pictogram.pipelines.image_to_text import ImageToTextPipeline
from pictogram.pipelines.text_to_image import TextToImagePipeline


@pytest.mark.parametrize("pipeline", [ImageToTextPipeline, TextToImagePipeline])
def test_every_pipeline_loads_a_bundle_and_is_of_its_own_class(pipeline: type[BundlePipeline]):
    loaded = pipeline.from_pretrained(tiny_chain.bundle_folder(), device="cpu")
    assert type(loaded) is pipeline
    assert loaded.grammar is loaded.bundle.grammar
    assert not loaded.bundle.prior.training


def test_a_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a whole bundle"):
        TextToImagePipeline.from_pretrained(tmp_path)


def test_a_revision_goes_with_a_name_on_the_hub():
    """What comes by such a name is in tests/test_lm_bundle_push.py."""
    with pytest.raises(InputError, match="a revision, 'v1', needs a name on the Hub"):
        TextToImagePipeline.from_pretrained(tiny_chain.bundle_folder(), device="cpu", revision="v1")
    with pytest.raises(InputError, match="model owner/name is not in the cache"):
        ImageToTextPipeline.from_pretrained("owner/name")


def test_counts_start_at_one():
    assert check_positive("num_images", 1) == 1
    with pytest.raises(InputError, match="num_images must be at least 1, got 0"):
        check_positive("num_images", 0)
