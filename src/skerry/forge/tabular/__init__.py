"""Tables of numbers, as sensors write them: `rows` reads one, `recipe` is the recipe for them."""
