"""The claims of the papers and of the article, in the order of a report, and the rules that decide them."""

from resnet.claims import article, cifar, he2016, identity, imagenet

CLAIMS = (*identity.CLAIMS, *imagenet.CLAIMS, *cifar.CLAIMS, *he2016.CLAIMS, *article.CLAIMS)
