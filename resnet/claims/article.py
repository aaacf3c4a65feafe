"""What the article that this project starts from believes of residual networks, in our words and with our rules."""

from resnet.claims import rules_article as rules
from resnet.claims.families import FRAGILE, OPTIONS, RESIDUAL, SHORTCUTS, SIGNALS
from resnet.claims.verdicts import Claim

HOME, DIGITS, ABLATIONS = "imagenet", "digits", "digits-ablations"  # experiments of params.yaml

CLAIMS = (
    Claim(
        id="AR-1",
        where="article",
        sentence="Skip connections cure vanishing gradients: those of the first layers are less weakened than without",
        family=SIGNALS,
        home=HOME,
        small=DIGITS,
        rule=rules.gradients_reach_the_first_layers,
    ),
    Claim(
        id="AR-2",
        where="article",
        sentence="Deep plain networks are harder to train: their training error is higher than the residual twin's",
        family=SHORTCUTS,
        home=HOME,
        small=DIGITS,
        rule=rules.deep_plain_is_harder_to_train,
    ),
    Claim(
        id="AR-3",
        where="article",
        sentence="Residual networks keep their accuracy as depth grows",
        family=RESIDUAL,
        home=HOME,
        small=DIGITS,
        rule=rules.depth_costs_no_accuracy,
    ),
    Claim(
        id="AR-4",
        where="article",
        sentence="A layer that hurts can be skipped: without a block a residual network loses less than a plain one",
        family=FRAGILE,
        home=HOME,
        small=DIGITS,
        rule=rules.plain_loses_more_without_a_block,
    ),
    Claim(
        id="AR-5",
        where="article",
        sentence="Networks with skip connections are less sensitive to noise",
        family=FRAGILE,
        home=HOME,
        small=DIGITS,
        rule=rules.plain_loses_more_under_noise,
    ),
    Claim(
        id="AR-6",
        where="article",
        sentence="Zero-padding (option A) and 1×1 projection (B) both serve as shortcuts: errors are about equal",
        family=OPTIONS,
        home=HOME,
        small=ABLATIONS,
        rule=rules.padding_and_projection_serve_alike,
        paper="25.03 against 24.52 % (Table 3)",
    ),
)
