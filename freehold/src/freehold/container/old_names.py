"""Seam: an app that was deployed with names of older SDKs has them in its containers, too. Others do not notice."""

from __future__ import annotations


def install() -> None:
    import modal

    import modal_compat

    modal_compat.install(modal)
