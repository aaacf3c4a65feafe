"""The claims of the paper and of the article, in the order of a report, and the rules that decide them."""

from resnet.claims import article, cifar, imagenet

CLAIMS = (*imagenet.CLAIMS, *cifar.CLAIMS, *article.CLAIMS)
