"""Pretrained encoders of texts and images that lie on this machine, and the vectors that they give.

Nothing is downloaded and no code of an encoder's folder is run. `_find` looks for the folder, `_check` reads
what it would load, `_raw` turns a raw sample into a text or an image, `_texts` and `_images` are the
encoders. docs/outside.md is written for users.
"""

from cohaudit.loading.encoder._open import Encoder, open_encoder

__all__ = ["Encoder", "open_encoder"]
