"""What every recipe shares: `recipe` says what one is, `forge` runs one from data to a bundle, `rebuild` repeats it."""
