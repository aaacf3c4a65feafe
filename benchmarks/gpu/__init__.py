"""Training and evaluation on one GPU, measured in at most nine minutes; needs torch, torchvision, numpy and `resnet`.

    python -m benchmarks.gpu [--device cuda|cpu] [--minutes 9] [--only SECTION...] [--smallest] [--output FILE]

Two fast paths are absent, because no line lands here that has never run: the whole iteration as one CUDA graph, and
several seeds as one computation (on a CPU core it gains nothing). The ladder of `benchmarks.gpu.ladder` is a table of
named steps, and each of the two would be one more row of it.
"""
