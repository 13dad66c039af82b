"""The table of samples' scores."""

from pictogram.pipelines.sample_table import print_samples


def _document() -> dict:
    share = {"value": 0.5, "interval": [0.4, 0.6], "num_images": 10}
    return {
        "cas": {"real": {"accuracy": share}, "samples": {"accuracy": share}, "share_of_real": 1.0},
        "recognised": {"real": 0.9, "samples": 0.8},
        "memorisation": {
            "pixels": {
                "samples": {"percentile_1": 1.0, "median": 2.0},
                "real test": {"percentile_1": 0.0, "median": 4.0},
                "ratio": {"real test": {"percentile_1": None, "median": 0.5}},
                "suspect": {"real test": 0.0123},
                "suspect_expected": {"real test": 0.0011},
            }
        },
        "seconds": {"num_images": 100, "seconds": 4.0, "cpu_seconds": 8.0},
        "protocol": {"num_images_of": {"real": 10, "samples": 10}, "num_measured": 10, "split": "test"},
    }


def test_what_was_measured_is_printed_and_nothing_else(capsys):
    print_samples(_document())
    printed = " ".join(capsys.readouterr().out.split())
    assert "0.5000" in printed and "FD" not in printed and "precision" not in printed
    assert "10 real, 10 samples; tested on 10 real ones (test)" in printed
    assert "CAS of samples 0.4000 to 0.6000 (95 %), 1.000 of real pictures'" in printed
    assert "percentile 1 / median samples 1 / 2, real test 0 / 4, of real test - / 0.500" in printed
    assert "nearer than .999 of them 0.0123 (0.0011 without copies)" in printed
    assert "100 pictures drawn in 4 s, 40.0 ms each" in printed
