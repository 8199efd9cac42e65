"""Scenes rendered in integer arithmetic, so that every pixel is the same on every machine.

key ─ Chance ─→ numbers ─ street, portrait ─→ Parts ─ Canvas ─→ label, and photograph ─→ image
      chance              things, colours,    an Outline, a
                          textures            Texture, two colours
"""
