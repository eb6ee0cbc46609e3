"""Network backends: what a card's cable leads to.  Frames in, frames out; nothing of a guest."""
