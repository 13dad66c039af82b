from tiny_chain import bundle_folder, pictures

from pictogram.pipelines.evaluate_names import evaluate_names


def test_names_from_a_folder():
    found = evaluate_names(str(bundle_folder()), str(pictures()), "train", 0, 3.0, 6)
    assert found["num_captions"] == 6
    assert found["guidance_scale"] == 3.0
