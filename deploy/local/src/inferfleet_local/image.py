"""The images that the checkout describes."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the checkout describes."""

    name: str
    context: str
    """The folder that the Dockerfile copies from, relative to the checkout."""
    peak_bytes: int
    """The most disk that building it and loading it into a first node takes."""
    stepwise: bool = True
    """Whether each step is kept for the next build: not where one step makes nearly all of the image, which
    would be written twice more."""
    program: str = ""
    """A Go source file in the context; what it compiles to is the context."""

    @property
    def reference(self) -> str:
        """Its full name, as the kubelet spells it."""
        return f"docker.io/inferfleet/{self.name}:dev"

    @property
    def dockerfile(self) -> str:
        """Its Dockerfile, relative to the checkout."""
        return f"deploy/images/{self.name}/Dockerfile"

    @property
    def ignorefile(self) -> str:
        """What stays out of the context (container engines look for the same name)."""
        return f"{self.dockerfile}.dockerignore"


PAUSE = Image("pause", "deploy/images/pause", peak_bytes=64 * MIB, program="pause.go")
IMAGES = {
    image.name: image
    for image in (
        PAUSE,
        Image("operator", ".", peak_bytes=2 * GIB),
        Image("engine-cpu", "deploy/images/engine-cpu", peak_bytes=16 * GIB, stepwise=False),
    )
}
PAUSE_IMAGE = PAUSE.reference
