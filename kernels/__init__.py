"""Update rules, each written once, and the backends that run them."""
