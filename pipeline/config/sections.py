"""The sections of params.yaml as types. What a number means stands beside it, with its place in the paper."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from resnet.recipe import Precision

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # names become parts of paths
NAME_RULE = "a name has 1 to 64 letters, digits, dots, dashes and underscores and begins with a letter or digit"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Digits(Section):
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels."""

    dataset: Literal["digits"]
    validation: Annotated[int, Field(ge=1, le=1000)]  # images held out for the curves
    test: Annotated[int, Field(ge=1, le=1000)]  # images that decide nothing


class Cifar10(Section):
    """The binary version of CIFAR-10 (Sec. 4.2)."""

    dataset: Literal["cifar10"]
    source: str | None = None  # folder with cifar-10-binary.tar.gz or cifar-10-batches-bin/; null downloads it
    validation: Annotated[int, Field(ge=1, le=25_000)]  # of the 50,000 training images (Sec. 4.2: 5,000)


class Folder(Section):
    """A tree SPLIT/CLASS/IMAGE of JPEG and PNG files, or CLASS/IMAGE, split by content."""

    dataset: Literal["folder"]
    source: str
    validation: Annotated[float, Field(gt=0, lt=0.5)]  # share of the images where there is no val/
    test: Annotated[float, Field(gt=0, lt=0.5)]  # share of the images where there is no test/


class ImageNet(Section):
    """ILSVRC2012 as train/WNID/*.JPEG and val/WNID/*.JPEG; the 50,000 validation images are the paper's `val`."""

    dataset: Literal["imagenet"]
    source: str


DATASETS: dict[str, type[Section]] = {"digits": Digits, "cifar10": Cifar10, "folder": Folder, "imagenet": ImageNet}
Data = Annotated[Digits | Cifar10 | Folder | ImageNet, Field(discriminator="dataset")]
Seeds = Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1, max_length=1000)]


class NetworkSection(Section):
    """One row of the comparison: what differs from the experiment's own `architecture`, `train` and `seeds`."""

    network: str | None = None  # name in resnet.architectures; by default the row's own name
    architecture: dict[str, Any] = {}
    train: dict[str, Any] = {}
    seeds: Seeds | None = None


class Resources(Section):
    """What one run takes of the cluster."""

    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    gpus: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"  # shares let several runs have one device
    retries: Annotated[int, Field(ge=0, le=100)] = 3  # of a run that is lost with its worker
    checkpoint_s: Annotated[float, Field(gt=0, le=86400)] = 5.0  # seconds of work that a kill costs at most
    wait_s: Annotated[float, Field(ge=0, le=604800)] = 600.0  # for nodes, where the cluster has shrunk below a run


class Evaluation(Section):
    """Decides what is measured of finished runs, and no run's key."""

    protocols: list[Literal["10-crop", "multi-scale"]] = []  # Sec. 3.4: Tables 2 and 3, Tables 4 and 5
    averaging: Literal["softmax", "logits"] = "softmax"  # of what the mean over views is taken; fb.resnet.torch: logits
    precision: Precision = "fp32"  # of the protocols; what that changes in the top-1 error of one view is reported
    multi_scale_flips: bool = False  # whether multi-scale sees mirror images too, of which the paper says nothing
    reestimate_batch_norm: bool = False  # running statistics as means over training batches, as the authors' are
    ensemble: list[str] = []  # rows of `networks` (Table 5); one that stands twice gives two of its seeds


class ExperimentSection(Section):
    data: Data
    architecture: dict[str, Any] = {}
    train: dict[str, Any]
    seeds: Seeds
    networks: Annotated[dict[Annotated[str, Field(pattern=NAME)], NetworkSection | None], Field(min_length=1)]
    resources: Resources = Resources()
    evaluation: Evaluation = Evaluation()
