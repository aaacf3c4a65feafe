"""What is wrong in a params.yaml, and what a person must be told."""

from typing import Any

from tests.params_maker import REMOVE

# Each: what is changed, and the words that the message must hold: the key with its place, the value, what is allowed.
BAD_VALUES: dict[str, tuple[dict[str, Any], list[str]]] = {
    # unknown and misspelt keys at each level
    "top level": ({"storag": "x"}, ["storag:", "unknown key", "did you mean 'storage'"]),
    "experiment": ({"tiny.trian": {}}, ["tiny.trian", "unknown key", "did you mean 'train'", "resources"]),
    "data": ({"tiny.data.validaton": 3}, ["tiny.data.validaton", "did you mean 'validation'", "test"]),
    "architecture": ({"tiny.architecture.strideon": "1x1"}, ["tiny.architecture.strideon", "did you mean 'stride_on'"]),
    "train": ({"tiny.train.lerning_rate": 0.1}, ["tiny.train.lerning_rate", "unknown key", "allowed: batch_size"]),
    "train, near": ({"tiny.train.momentun": 0.1}, ["tiny.train.momentun", "did you mean 'momentum'"]),
    "warm-up": (
        {"tiny.train.warm_up": {"lr": 0.01, "until_train_error_percent": 80, "til": 1}},
        ["tiny.train.warm_up.til", "unknown key", "allowed: lr, until_train_error_percent"],
    ),
    "row": ({"tiny.networks.plain-18": {"sed": [1]}}, ["tiny.networks.plain-18.sed", "unknown key", "seeds"]),
    "row's train": (
        {"tiny.networks.plain-18": {"train": {"lrr": 1}}},
        ["tiny.networks.plain-18.train.lrr", "unknown key", "did you mean 'lr'"],
    ),
    "resources": ({"tiny.resources.gpu": 1}, ["tiny.resources.gpu", "did you mean 'gpus'", "cpus, gpus, retries"]),
    "evaluation": (
        {"tiny.evaluation": {"protocol": ["10-crop"]}},
        ["tiny.evaluation.protocol", "unknown key", "did you mean 'protocols'", "averaging", "ensemble"],
    ),
    "key with a line break": ({"tiny.train.a\nb": 1}, ["tiny.train.'a\\nb'", "unknown key"]),
    "key that is a number": ({"tiny.train": {1: 2}}, ["tiny.train", "keys must be text", "got 1"]),
    # missing ones
    "no lr": ({"tiny.train.lr": REMOVE}, ["tiny.train.lr", "missing"]),
    "no data": ({"tiny.data": REMOVE}, ["tiny.data", "missing"]),
    "no data set": ({"tiny.data.dataset": REMOVE}, ["tiny.data.dataset", "digits, cifar10, folder, imagenet"]),
    "no source": ({"tiny.data": {"dataset": "imagenet"}}, ["tiny.data.source", "missing"]),
    # wrong types
    "number as text": ({"tiny.train.lr": "0.1"}, ["tiny.train.lr", "valid number", "got '0.1'"]),
    "count as text": ({"tiny.train.batch_size": "16"}, ["tiny.train.batch_size", "valid integer", "got '16'"]),
    "true as count": ({"tiny.train.iterations": True}, ["tiny.train.iterations", "valid integer", "got True"]),
    "true as rate": ({"tiny.train.lr": True}, ["tiny.train.lr", "valid number", "got True"]),
    "1 as flag": ({"tiny.train.flip": 1}, ["tiny.train.flip", "valid boolean", "got 1"]),
    "text as flag": ({"tiny.train.flip": "yes"}, ["tiny.train.flip", "valid boolean", "got 'yes'"]),
    "8.0 as count": ({"tiny.train.iterations": 8.0}, ["tiny.train.iterations", "valid integer", "got 8.0"]),
    "1.5 as count": ({"tiny.train.pad": 1.5}, ["tiny.train.pad", "valid integer", "got 1.5"]),
    "drops not a list": ({"tiny.train.lr_drops": 4}, ["tiny.train.lr_drops", "must be a list", "got 4"]),
    "drop as text": ({"tiny.train.lr_drops": [4, "6"]}, ["tiny.train.lr_drops.1", "valid integer", "got '6'"]),
    "width true": ({"tiny.architecture.width": True}, ["tiny.architecture.width", "valid integer", "got True"]),
    "blocks text": ({"tiny.architecture.blocks": "2,2"}, ["tiny.architecture.blocks", "must be a list", "got '2,2'"]),
    "train a list": ({"tiny.train": [1]}, ["tiny.train", "must be keys and values", "got [1]"]),
    "row text": ({"tiny.networks.plain-18": "B"}, ["tiny.networks.plain-18", "must be keys and values", "got 'B'"]),
    "seed true": ({"tiny.seeds": [True]}, ["tiny.seeds.0", "valid integer", "got True"]),
    "seed text": ({"tiny.seeds": ["1"]}, ["tiny.seeds.0", "valid integer", "got '1'"]),
    "validation true": ({"tiny.data.validation": True}, ["tiny.data.validation", "valid integer", "got True"]),
    "cpus text": ({"tiny.resources.cpus": "2"}, ["tiny.resources.cpus", "valid integer", "got '2'"]),
    "gpus text": ({"tiny.resources.gpus": "all"}, ["tiny.resources.gpus", "auto or a number from 0 to 1", "got 'all'"]),
    "warm_up a number": ({"tiny.train.warm_up": 0.01}, ["tiny.train.warm_up", "must be keys and values", "got 0.01"]),
    # out of range
    "lr NaN": ({"tiny.train.lr": float("nan")}, ["tiny.train", "lr must be in (0, 100]", "got nan"]),
    "lr inf": ({"tiny.train.lr": float("inf")}, ["tiny.train", "lr must be in (0, 100]", "got inf"]),
    "lr 0": ({"tiny.train.lr": 0}, ["tiny.train", "lr must be in (0, 100]", "got 0.0"]),
    "lr negative": ({"tiny.train.lr": -0.1}, ["tiny.train", "lr must be in (0, 100]", "got -0.1"]),
    "weight decay": (
        {"tiny.train.weight_decay": -1e-4},
        ["tiny.train", "weight_decay must be in [0, 1]", "got -0.0001"],
    ),
    "momentum 1": ({"tiny.train.momentum": 1}, ["tiny.train", "momentum must be in [0, 1)", "got 1.0"]),
    "momentum NaN": ({"tiny.train.momentum": float("nan")}, ["momentum must be in [0, 1)", "got nan"]),
    "no iteration": ({"tiny.train.iterations": 0}, ["tiny.train", "iterations must be from 1 to", "got 0"]),
    "iterations huge": (
        {"tiny.train.iterations": 10**40},
        ["tiny.train", "iterations must be from 1 to 1000000000", "got 1000000000000"],
    ),
    "batch": ({"tiny.train.batch_size": -16}, ["tiny.train", "batch_size must be from 1 to", "got -16"]),
    "pad": ({"tiny.train.pad": -1}, ["tiny.train", "pad must be from 0 to 1000", "got -1"]),
    "precision": ({"tiny.train.precision": "fp16"}, ["tiny.train.precision", "'fp32', 'tf32' or 'bf16'", "got 'fp16'"]),
    "record": ({"tiny.train.record_every": 0}, ["record_every must be from 1 to", "got 0"]),
    "validate": ({"tiny.train.validate_every": 3}, ["validate_every must be a multiple of record_every (2)", "got 3"]),
    "drops fall": ({"tiny.train.lr_drops": [6, 4]}, ["tiny.train", "lr_drops must rise", "got [6, 4]"]),
    "drops twice": ({"tiny.train.lr_drops": [4, 4]}, ["tiny.train", "lr_drops must rise, each once", "got [4, 4]"]),
    "drop past the end": ({"tiny.train.lr_drops": [8]}, ["lr_drops must lie between 0 and iterations (8)", "got [8]"]),
    "drop at 0": ({"tiny.train.lr_drops": [0]}, ["lr_drops must lie between 0 and iterations", "got [0]"]),
    "no worker at least": (
        {"tiny.train.workers": 2, "tiny.train.min_workers": 0},
        ["tiny.train", "min_workers must be null or from 1 to 1", "got 0"],
    ),
    "more workers at least than at most": (
        {"tiny.train.workers": 4, "tiny.train.min_workers": 5},
        ["min_workers must be null or from 1 to 2, the most below workers (4) that share batch_size (", "got 5"],
    ),
    "no number of workers in between": (
        {"tiny.train.workers": 8, "tiny.train.min_workers": 5},
        ["min_workers must be null or from 1 to 4, the most below workers (8)", "got 5"],
    ),
    "fewer workers than one": (
        {"tiny.train.min_workers": 1},
        ["tiny.train", "min_workers must be null where workers is 1, got 1"],
    ),
    "elastic and compiled": (
        {"tiny.train.workers": 2, "tiny.train.min_workers": 1, "tiny.train.compile": True},
        ["compile needs a fixed number of workers: min_workers must be null, got 1"],
    ),
    "elastic with dropout": (
        {
            "tiny.train.workers": 2,
            "tiny.train.min_workers": 1,
            "tiny.networks": {"resnet-18": {"architecture": {"shortcut_dropout": 0.5}}},
        },
        ["tiny.networks.resnet-18: train.min_workers must be null with shortcut_dropout"],
    ),
    "row ends before its drops": (
        {"tiny.networks.plain-18": {"train": {"iterations": 4}}},
        ["tiny.networks.plain-18.train", "lr_drops must lie between 0 and iterations (4)", "got [4, 6]"],
    ),
    "warm-up error": (
        {"tiny.train.warm_up": {"lr": 0.01, "until_train_error_percent": 101}},
        ["tiny.train.warm_up", "warm_up.until_train_error_percent must be in (0, 100]", "got 101"],
    ),
    "validation 0": ({"tiny.data.validation": 0}, ["tiny.data.validation", "greater than or equal to 1", "got 0"]),
    "share NaN": (
        {"tiny.data": {"dataset": "folder", "source": "x", "validation": float("nan"), "test": 0.1}},
        ["tiny.data.validation", "got nan"],
    ),
    "gpus 2": ({"tiny.resources.gpus": 2}, ["tiny.resources.gpus", "from 0 to 1", "got 2"]),
    "gpus NaN": ({"tiny.resources.gpus": float("nan")}, ["tiny.resources.gpus", "from 0 to 1", "got nan"]),
    "cpus 0": ({"tiny.resources.cpus": 0}, ["tiny.resources.cpus", "greater than or equal to 1", "got 0"]),
    "no seed": ({"tiny.seeds": []}, ["tiny.seeds", "at least 1 item", "got []"]),
    "seed twice": ({"tiny.seeds": [2, 2]}, ["tiny.seeds", "each seed once", "got [2, 2]"]),
    "row's seed twice": (
        {"tiny.networks.plain-18": {"seeds": [5, 5]}},
        ["tiny.networks.plain-18.seeds", "each seed once", "got [5, 5]"],
    ),
    "row without a seed": ({"tiny.networks.plain-18": {"seeds": []}}, ["plain-18.seeds", "at least 1 item", "got []"]),
    "seed negative": ({"tiny.seeds": [-1]}, ["tiny.seeds.0", "greater than or equal to 0", "got -1"]),
    "seed huge": ({"tiny.seeds": [2**31]}, ["tiny.seeds.0", "less than or equal to 2147483647", "got 2147483648"]),
    # what is measured of finished runs
    "protocol": (
        {"tiny.evaluation.protocols": ["5-crop"]},
        ["tiny.evaluation.protocols.0", "'10-crop' or 'multi-scale'", "got '5-crop'"],
    ),
    "precision of no protocol": (
        {"tiny.evaluation.precision": "bf16"},
        ["tiny.evaluation.precision", "none is asked for", "leave the key out", "got 'bf16'"],
    ),
    "protocols text": ({"tiny.evaluation.protocols": "10-crop"}, ["evaluation.protocols", "must be a list"]),
    "crops of small images": (
        {"tiny.evaluation.protocols": ["multi-scale"]},
        ["tiny.evaluation.protocols", "photographs (folder, imagenet)", "digits", "leave the key out"],
    ),
    "protocol twice": (
        {
            "tiny.data": {"dataset": "imagenet", "source": "x"},
            "tiny.evaluation.protocols": ["10-crop", "10-crop"],
        },
        ["tiny.evaluation.protocols", "each protocol once", "got ['10-crop', '10-crop']"],
    ),
    "averaging": ({"tiny.evaluation.averaging": "max"}, ["evaluation.averaging", "'softmax' or 'logits'", "got 'max'"]),
    "1 as re-estimation": (
        {"tiny.evaluation.reestimate_batch_norm": 1},
        ["tiny.evaluation.reestimate_batch_norm", "valid boolean", "got 1"],
    ),
    "evaluation text": ({"tiny.evaluation": "10-crop"}, ["tiny.evaluation", "must be keys and values"]),
    "ensemble of one": ({"tiny.evaluation.ensemble": ["plain-18"]}, ["evaluation.ensemble", "at least 2 networks"]),
    "ensemble of unknown rows": (
        {"tiny.evaluation.ensemble": ["plain-18", "resnet-8"]},
        ["tiny.evaluation.ensemble", "'resnet-8'", "did you mean 'resnet-18'", "networks has plain-18, resnet-18"],
    ),
    "ensemble without enough seeds": (
        {"tiny.evaluation.ensemble": ["resnet-18", "plain-18", "resnet-18"]},
        ["tiny.evaluation.ensemble", "resnet-18 must stand there once a seed, of which it has 1"],
    ),
    # names
    "data set": (
        {"tiny.data.dataset": "mnist"},
        ["tiny.data.dataset", "must be one of digits, cifar10, folder, imagenet", "got 'mnist'"],
    ),
    "no network": ({"tiny.networks": {}}, ["tiny.networks", "at least 1 item", "got {}"]),
    "network": (
        {"tiny.networks.resnet-35": None},
        ["tiny.networks.resnet-35", "unknown network", "known", "resnet-34"],
    ),
    "depth": ({"tiny.networks.cifar-plain-21": None}, ["'cifar-plain-21'", "6n+2", "nearest are 20 and 26"]),
    "depth 2": ({"tiny.networks.cifar-resnet-2": None}, ["'cifar-resnet-2'", "6n+2", "nearest are 8 and 14"]),
    "unlisted depth": ({"tiny.networks.cifar-plain-26": None}, ["'cifar-plain-26'", "blocks: [4, 4, 4]"]),
    "row's network": ({"tiny.networks.mine": {"network": "vgg"}}, ["tiny.networks.mine", "'vgg'", "known"]),
    "row with a slash": ({"tiny.networks.a/b": None}, ["tiny.networks.a/b", "letters, digits", "got 'a/b'"]),
    "row that goes up": ({"tiny.networks": {"..": None}}, ["tiny.networks", "begins with a letter", "got '..'"]),
    "row with a line break": ({"tiny.networks.a\n": None}, ["tiny.networks.", "letters, digits", "got 'a\\n'"]),
    "shortcut": ({"tiny.architecture.shortcut": "D"}, ["tiny.architecture.shortcut", "'A', 'B' or 'C'", "got 'D'"]),
    "no block": ({"tiny.architecture.blocks": []}, ["tiny.architecture", "blocks must be 1 to 4 numbers", "got []"]),
    "blocks 0": ({"tiny.architecture.blocks": [2, 0]}, ["tiny.architecture", "blocks must be", "got [2, 0]"]),
    "five stages": ({"tiny.architecture.blocks": [1] * 5}, ["blocks must be 1 to 4", "got [1, 1, 1, 1, 1]"]),
    "width 0": ({"tiny.architecture.width": 0}, ["tiny.architecture", "width must be from 1 to 4096", "got 0"]),
    "width huge": ({"tiny.architecture.width": 10**9}, ["width must be from 1 to 4096", "got 1000000000"]),
    "storage a number": ({"storage": 5}, ["storage must be a folder", "got 5"]),
    "storage empty": ({"storage": ""}, ["storage must be a folder", "got ''"]),
    "storage null": ({"storage": None}, ["storage must be a folder", "got None"]),
    "storage of another kind": ({"storage": "http://b/c"}, ["storage must be a folder", "s3://", "got 'http://b/c'"]),
    "storage no bucket": ({"storage": "s3://"}, ["storage must be a folder", "got 's3://'"]),
    "storage above the bucket": ({"storage": "s3://bucket/../c"}, ["storage must be a folder", "got 's3://bucket/.."]),
    "storage with a query": ({"storage": "gs://bucket/c?x=1"}, ["storage must be a folder", "got 'gs://bucket/c?x=1'"]),
    "storage with a pattern": ({"storage": "s3://bucket/*"}, ["storage must be a folder", "got 's3://bucket/*'"]),
    "storage with a password": ({"storage": "s3://me:secret@bucket/c"}, ["storage must be", "got 's3://bucket/c'"]),
    "listed, not there": (
        {"experiments": ["tinny"]},
        ["experiments", "'tinny'", "did you mean 'tiny'", "there are tiny"],
    ),
    "experiments text": ({"experiments": "tiny"}, ["experiments must be a list of names", "got 'tiny'"]),
    "experiment's name": ({"a/b": {}}, ["a/b", "letters, digits"]),
}
