"""The claims of He et al. 2015: every row of he2015_claims.csv, and IN-10."""

from resnet.claims import he2015_cifar, he2015_imagenet

CLAIMS = (*he2015_imagenet.CLAIMS, *he2015_cifar.CLAIMS)
