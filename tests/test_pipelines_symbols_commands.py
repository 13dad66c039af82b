from pictogram.pipelines.symbols_commands import print_clusters, print_emergence, print_naming

STATISTIC = {"points": 0.7, "low": 0.6, "high": 0.8, "gaussian": 0.5, "gaussian_low": 0.4, "gaussian_high": 0.6, "z": 3}
REPORT = {
    "models": {
        "[a]": [
            {"codes_in_use": 4, "verdict": "yes", "reasons": ["dense [here]"], "statistics": {"hopkins": STATISTIC}},
            {"codes_in_use": 5, "verdict": "no", "reasons": [], "statistics": {"hopkins": STATISTIC}},
        ]
    },
    "agreement": [{"models": ["[a]", "b"], "levels": [{"codes": 0.5, "clusters": 0.25}]}],
}


def test_people_see_a_table_and_a_verdict_a_level(capsys):
    print_clusters(REPORT)
    out = capsys.readouterr().out
    assert "[a], level 0, 4 codes in use: yes" in out and "[a], level 1, 5 codes in use: no" in out
    assert "0.600 to 0.800" in out and "+3.0" in out and "- dense [here]" in out
    assert "[a] and b agree, codes / clusters, level by level: 0.50 / 0.25" in out


def test_emergence_is_a_line_a_method_and_size(capsys):
    names = ["bits", "information", "held_out_information", "majority_vote", "nmi", "ari", "accuracy"]
    entry = {"method": "m [x]", "codebook_size": 64, "num_runs": 2, "mean": dict.fromkeys(names, 0.5)}
    alone, several = entry | {"spread": dict.fromkeys(names)}, entry | {"spread": dict.fromkeys(names, 0.25)}
    print_emergence({"summary": [alone, several], "class_entropy": 3.3219})
    out = capsys.readouterr().out
    assert "0.500 +- 0.250" in " ".join(out.split()) or "+-" in out
    assert "the classes themselves take 3.32 bits" in out


def test_naming_is_a_row_a_method(capsys):
    summary = [
        {"method": method, "labels_per_class": count, "accuracy": count / 10, "spread": 0.01}
        for method in ("one", "two")
        for count in (1, 5)
    ]
    print_naming({"summary": summary, "protocol": {"labels_per_class": [1, 5]}})
    out = capsys.readouterr().out
    assert out.count("0.100 +- 0.010") == out.count("0.500 +- 0.010") == 2
