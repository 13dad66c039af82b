from pictogram.pipelines.symbols_commands import print_clusters

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
