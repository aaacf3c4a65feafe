"""Each rule about what was measured inside networks, on measurements for its claim and against it."""

import pytest

from resnet.study import Network, Study
from tests.study_maker import gradients, judged, row, seeds, study, verdict


def plain_signals(variance: float, *norms: float) -> Study:
    columns = {
        "variances_at_start": [(1.0, variance)] * 5,
        "gradients": [gradients(*norms, 1 + i / 50) for i in range(5)],
    }
    return study(row("plain-34", columns))


def test_signals_and_gradients_of_plain_networks() -> None:
    healthy = judged(plain_signals(0.2, 0.1, 0.5), "IN-8")
    assert healthy.verdict == "reproduced"
    assert "smallest variance of a convolution's output before training: plain-34 0.2 ± 0 (n=5)" in healthy.evidence
    assert verdict(plain_signals(0.2, 1e-7, 0.5), "IN-8") == "contradicted"
    assert verdict(plain_signals(0.2, 0.0, 0.5), "IN-8") == "contradicted"
    assert verdict(plain_signals(0.2, float("nan"), 0.5), "IN-8") == "contradicted"
    assert verdict(plain_signals(0.0, 0.1, 0.5), "IN-8") == "contradicted"


def test_gradients_of_a_network_that_has_fit_its_data_are_not_asked() -> None:
    late = [
        (*gradients(0.1, 1 + i / 50, iterations=(1, 500)), *gradients(1e-9, 1.0, iterations=(501,))) for i in range(5)
    ]
    assert (
        verdict(study(row("plain-18", {"variances_at_start": [(1.0,)] * 5, "gradients": late})), "IN-8") == "reproduced"
    )


def responding(name: str, mean: float, n: int = 5) -> Network:
    return row(name, {"responses": [(v, v + 0.2) for v in seeds(mean, 0.03, n)]})


def test_responses() -> None:
    plain, residual = (1.0, 1.3), (0.6, 0.4)
    right = [responding(f"cifar-plain-{d}", v) for d, v in zip((20, 56), plain, strict=True)]
    right += [responding(f"cifar-resnet-{d}", v) for d, v in zip((20, 56), residual, strict=True)]
    smaller = judged(study(*right), "CF-6")
    assert smaller.verdict == "reproduced"
    assert "at 20, 56 layers, as in Fig. 7" in smaller.evidence
    assert "cifar-resnet-20 0.70 ± 0.03 (n=5)" in smaller.evidence
    deeper = judged(study(*right), "CF-7")
    assert deeper.verdict == "reproduced"
    assert "at 20, 56 layers, the paper at 20, 56, 110" in deeper.evidence
    wrong = [responding(f"cifar-plain-{d}", v) for d, v in zip((20, 56), residual, strict=True)]
    wrong += [responding(f"cifar-resnet-{d}", v) for d, v in zip((20, 56), plain, strict=True)]
    assert verdict(study(*wrong), "CF-6") == verdict(study(*wrong), "CF-7") == "contradicted"


def test_responses_at_depths_that_are_not_the_papers() -> None:
    rows = [responding(f"cifar-{f}-{d}", v) for f, v in (("plain", 1.0), ("resnet", 0.5)) for d in (32, 44)]
    assert "at 32, 44 layers, the paper at 20, 56" in judged(study(*rows), "CF-6").evidence
    assert verdict(study(*rows), "CF-7") == "undecided"


def inside(name: str, loss: float, whole: float = 5.0, first: float = 1.0) -> Network:
    """34 layers have 16 blocks, three of which change the shape: those cost everything."""
    blocks = {18: (1, 2, 2, 2), 34: (2, 4, 6, 3)}[int(name[-2:])]
    errors = [whole + loss] * (sum(blocks) + 1)
    if name.startswith("resnet"):
        for i in (2, 4, 6) if name.endswith("18") else (3, 7, 13):
            errors[i] = 90.0
    else:
        errors = errors[:-3]
    noise = ((0.0, whole), (0.1, whole + loss), (0.2, whole + 2 * loss))
    spread = [0.01 * i for i in range(5)]
    columns = {
        "error": [whole + s for s in spread],
        "lesions": [tuple(e + s for e in errors) for s in spread],
        "noise": [tuple((x, e + (s if x else 0.0)) for x, e in noise) for s in spread],
        "gradients": [gradients(first * (1 + s), 1.0, 1.0, 1.0) for s in spread],
    }
    return row(name, columns)


def four(plain: float, residual: float) -> Study:
    return study(*(inside(f"{f}-{d}", loss) for f, loss in (("plain", plain), ("resnet", residual)) for d in (18, 34)))


@pytest.mark.parametrize("name", ["AR-4", "AR-5"])
def test_what_is_robust(name: str) -> None:
    found = judged(four(20.0, 3.0), name)
    assert found.verdict == "reproduced"
    assert "error of the whole network on the same images: plain-18 5.00" in found.evidence
    assert {tuple(p["networks"]) for p in found.statistic["parts"]} == {
        ("plain-18", "resnet-18"),
        ("plain-34", "resnet-34"),
    }
    assert verdict(four(3.0, 20.0), name) == "contradicted"
    one_pair = study(inside("plain-34", 20.0), inside("resnet-34", 3.0), inside("resnet-18", 30.0))
    assert verdict(one_pair, name) == "reproduced"


@pytest.mark.parametrize("name", ["AR-4", "AR-5"])
def test_what_has_not_learnt_is_not_asked_what_it_loses(name: str) -> None:
    """Else a deep plain network that guesses would be the most robust of all."""
    shallow = [inside("plain-18", 20.0), inside("resnet-18", 3.0)]
    lost = study(*shallow, inside("plain-34", 0.0, whole=88.0), inside("resnet-34", 3.0))
    found = judged(lost, name)
    assert found.verdict == "reproduced"
    assert [part["networks"] for part in found.statistic["parts"]] == [["plain-18", "resnet-18"]]
    nobody = judged(study(inside("plain-34", 0.0, whole=88.0), inside("resnet-34", 3.0)), name)
    assert nobody.verdict == "not run"
    assert "no pair has an error below 45 %" in nobody.evidence


def test_the_same_blocks_are_left_out_of_both() -> None:
    parts = judged(four(20.0, 3.0), "AR-4").statistic["parts"]
    assert [part["difference"] for part in parts] == pytest.approx([17.0, 17.0])


def test_gradients_with_and_without_shortcuts() -> None:
    def both(plain: float, residual: float) -> Study:
        return study(inside("plain-34", 1.0, first=plain), inside("resnet-34", 1.0, first=residual))

    cured = judged(both(0.001, 0.5), "AR-1")
    assert cured.verdict == "reproduced"
    assert "the first layers' gradients are 0.00102 times the last ones': they vanish" in cured.evidence
    grown = judged(both(20.0, 2.0), "AR-1")
    assert grown.verdict == "contradicted"
    assert "they do not vanish, with batch normalisation they need not (IN-8)" in grown.evidence
