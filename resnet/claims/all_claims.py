"""All claims that a report judges, in its order: the paper's, then the article's."""

from resnet.claims import article, he2015

CLAIMS = (*he2015.CLAIMS, *article.CLAIMS)
