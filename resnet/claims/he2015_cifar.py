"""The claims of He et al. 2015, Sec. 4.2."""

from resnet.claims import rules_cifar as rules
from resnet.claims.families import EXTREME, PLAIN, RESIDUAL, RESPONSES
from resnet.claims.verdicts import Claim

HOME, DIGITS = "cifar10", "digits-deep"  # experiments of params.yaml

CLAIMS = (
    Claim(
        id="CF-1",
        where="§4.2, Fig. 6 left",
        sentence="Each deeper plain network of the CIFAR family has the higher training error",
        family=PLAIN,
        home=HOME,
        small=DIGITS,
        rule=rules.deeper_plain_trains_worse,
    ),
    Claim(
        id="CF-2",
        where="§4.2, Fig. 6 left",
        sentence="The error of plain-110 is higher than 60 %",
        family=PLAIN,
        home=HOME,
        small=DIGITS,
        rule=rules.plain_110_fails,
        paper="higher than 60 %, not displayed",
    ),
    Claim(
        id="CF-3a",
        where="§4.2, Fig. 6 middle",
        sentence="Residual networks overcome the difficulty: up to 110 layers none trains worse than a shallower one",
        family=RESIDUAL,
        home=HOME,
        small=DIGITS,
        rule=rules.deeper_residual_trains_as_well,
    ),
    Claim(
        id="CF-3b",
        where="§4.2, Fig. 6 middle, Table 6",
        sentence="Each deeper residual network of the CIFAR family, up to 110 layers, has the lower error",
        family=RESIDUAL,
        home=HOME,
        small=DIGITS,
        rule=rules.deeper_residual_is_better,
        paper="8.75, 7.51, 7.17, 6.97, 6.61 % for 20, 32, 44, 56, 110 layers",
    ),
    Claim(
        id="CF-4",
        where="§4.2",
        sentence="ResNet-110 leaves the warm-up, at 80 % training error, after about 400 iterations",
        home=HOME,
        small=DIGITS,
        rule=rules.warm_up_ends,
    ),
    Claim(
        id="CF-5",
        where="§4.2, footnote 5",
        sentence="ResNet-110 started at a rate of 0.1 converges after several epochs and ends as with the warm-up",
        home=HOME,
        small=DIGITS,
        rule=rules.cold_start_converges,
    ),
    Claim(
        id="CF-6",
        where="§4.2, Fig. 7",
        sentence="The layers of residual networks have smaller responses than those of their plain twins",
        family=RESPONSES,
        home=HOME,
        small=DIGITS,
        rule=rules.residual_responds_less,
    ),
    Claim(
        id="CF-7",
        where="§4.2, Fig. 7",
        sentence="The deeper residual network has the smaller responses",
        family=RESPONSES,
        home=HOME,
        small=DIGITS,
        rule=rules.deeper_responds_less,
    ),
    Claim(
        id="CF-8",
        where="§4.2, Fig. 6 right",
        sentence="ResNet-1202 has a training error below 0.1 %",
        family=EXTREME,
        home=HOME,
        rule=rules.extreme_depth_trains,
        paper="below 0.1 %",
    ),
    Claim(
        id="CF-9",
        where="§4.2, Table 6",
        sentence="ResNet-1202 has a higher test error than ResNet-110 at a similar training error",
        family=EXTREME,
        home=HOME,
        rule=rules.extreme_depth_overfits,
        paper="7.93 against 6.61 %",
    ),
    Claim(
        id="CF-10",
        where="§3.2, §4.2",
        sentence="A residual network with option A has exactly as many parameters as its plain twin",
        home=HOME,
        small=DIGITS,
        rule=rules.equal_parameters,
    ),
)
